-- When somebody who is no ingest last stored readings of %(since)s (a UTC day) or later, in microseconds of this
-- server's clock, null when nobody did; and this server's clock. One step of the index for each spool: there are few.
WITH RECURSIVE spools AS (
    (SELECT spool_id FROM ingest_ledger ORDER BY spool_id LIMIT 1)
    UNION ALL
    SELECT (SELECT l.spool_id FROM ingest_ledger AS l WHERE l.spool_id > s.spool_id ORDER BY l.spool_id LIMIT 1)
    FROM spools AS s
    WHERE s.spool_id IS NOT NULL
)
SELECT (extract(epoch FROM max(last.committed_at)) * 1000000)::bigint,
       (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
FROM spools AS s
CROSS JOIN LATERAL (
    SELECT max(l.committed_at) AS committed_at FROM ingest_ledger AS l
    WHERE l.spool_id = s.spool_id AND l.newest_day >= %(since)s
) AS last
WHERE NOT EXISTS (SELECT FROM ingest_instances AS i WHERE i.spool_id = s.spool_id)
