-- Every closed UTC day and tenant that the daily aggregate knows readings of: where they are, by the books and in fact.
WITH counted AS (
    SELECT g.tenant_id, (a.bucket AT TIME ZONE 'UTC')::date AS day, sum(a.n)::bigint AS rows
    FROM readings_1day AS a
    JOIN tags AS g USING (tag_id)
    WHERE a.bucket < date_trunc('day', %(now)s::timestamptz, 'UTC')
    GROUP BY 1, 2
),
known AS (
    SELECT day,
           EXISTS (SELECT FROM reading_days AS w WHERE w.day = days.day AND w.dropped_at IS NOT NULL) AS dropped,
           EXISTS (
               SELECT FROM readings
               WHERE time >= days.day::timestamp AT TIME ZONE 'UTC'
                 AND time < (days.day + 1)::timestamp AT TIME ZONE 'UTC'
           ) AS in_warm
    FROM (SELECT DISTINCT day FROM counted) AS days
)
SELECT t.slug AS tenant, c.day, c.rows, k.dropped, k.in_warm, r.rows AS archived
FROM counted AS c
JOIN known AS k USING (day)
JOIN tenants AS t USING (tenant_id)
LEFT JOIN archive_receipts AS r ON r.tenant_id = c.tenant_id AND r.day = c.day AND r.store = %(store)s
WHERE c.rows > 0
  AND CASE WHEN k.dropped THEN r.rows IS DISTINCT FROM c.rows ELSE NOT k.in_warm END
ORDER BY c.day, t.slug
