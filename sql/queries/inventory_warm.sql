-- Readings of each tenant and UTC day that are in the warm tier: by the daily aggregate, and of days whose readings were
-- dropped what came since.
WITH gone AS (SELECT day FROM reading_days WHERE dropped_at IS NOT NULL),
counted AS (
    SELECT g.tenant_id, (a.bucket AT TIME ZONE 'UTC')::date AS day, sum(a.n)::bigint AS rows
    FROM readings_1day AS a
    JOIN tags AS g USING (tag_id)
    WHERE NOT EXISTS (SELECT FROM gone WHERE gone.day = (a.bucket AT TIME ZONE 'UTC')::date)
    GROUP BY 1, 2
    UNION ALL
    SELECT g.tenant_id, gone.day, count(*)
    FROM gone
    CROSS JOIN LATERAL (
        SELECT tag_id FROM readings
        WHERE time >= gone.day::timestamp AT TIME ZONE 'UTC' AND time < (gone.day + 1)::timestamp AT TIME ZONE 'UTC'
    ) AS r
    JOIN tags AS g USING (tag_id)
    GROUP BY 1, 2
)
SELECT t.slug AS tenant, c.day, c.rows
FROM counted AS c
JOIN tenants AS t USING (tenant_id)
WHERE c.rows > 0
ORDER BY c.day, t.slug
