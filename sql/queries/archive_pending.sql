-- Tenants' days that are in the warm tier and not proven to be in the cold one, or changed since: what is to be archived.
WITH days AS (
    SELECT day FROM days_of_readings() AS day
    UNION
    SELECT day FROM archive_receipts WHERE store = %(store)s AND stale AND dropped_at IS NULL
    UNION
    SELECT day::date
    FROM generate_series(greatest(%(since)s::date, (SELECT min(d) FROM days_of_readings() AS d))::timestamp,
                         %(until)s::timestamp, '1 day') AS day
    WHERE %(empty)s
    UNION
    SELECT day::date
    FROM (SELECT min(d) AS first, max(d) AS last
          FROM (SELECT d FROM days_of_readings() AS d
                UNION SELECT day FROM archive_manifest WHERE store = %(store)s AND state = 'verified') AS known
          WHERE d BETWEEN coalesce(%(since)s::date, '0001-01-01') AND %(until)s::date) AS span
    CROSS JOIN generate_series(span.first::timestamp, span.last::timestamp, '1 day') AS day
    WHERE %(gaps)s
)
SELECT t.slug AS tenant, d.day, r.receipt_id, r.rows AS archived_rows, r.verified_at,
       (SELECT count(*) FROM archive_manifest AS m
        WHERE m.tenant_id = t.tenant_id AND m.day = d.day AND m.store = %(store)s
          AND m.state IN ('writing', 'quarantined', 'abandoned')
          AND m.receipt_id > coalesce((SELECT max(v.receipt_id) FROM archive_manifest AS v
                                       WHERE v.tenant_id = t.tenant_id AND v.day = d.day AND v.store = %(store)s
                                         AND v.state IN ('verified', 'replaced') AND v.verified_at IS NOT NULL), 0)
       ) AS failed
FROM days AS d
CROSS JOIN tenants AS t
LEFT JOIN reading_days AS w ON w.day = d.day
LEFT JOIN archive_receipts AS r ON r.tenant_id = t.tenant_id AND r.day = d.day AND r.store = %(store)s
WHERE d.day BETWEEN coalesce(%(since)s::date, '0001-01-01') AND %(until)s::date
  AND (%(tenants)s::text[] IS NULL OR t.slug = ANY (%(tenants)s))
  AND w.dropped_at IS NULL
  AND (r.receipt_id IS NULL OR r.stale OR %(force)s)
ORDER BY d.day, t.slug
