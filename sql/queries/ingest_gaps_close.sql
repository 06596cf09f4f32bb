-- The source's history filled these spans: the gaps within them are closed.
UPDATE ingest_gaps AS g
SET closed_at = clock_timestamp()
FROM unnest(%(connection_id)s::integer[], %(tag_id)s::integer[], %(started_at)s::timestamptz[],
            %(ended_at)s::timestamptz[]) AS f (connection_id, tag_id, started_at, ended_at)
WHERE g.closed_at IS NULL
  AND g.connection_id = f.connection_id
  AND g.started_at >= f.started_at AND g.ended_at <= f.ended_at
  AND (f.tag_id IS NULL OR g.tag_id = f.tag_id)
