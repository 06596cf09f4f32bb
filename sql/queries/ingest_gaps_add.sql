INSERT INTO ingest_gaps (spool_id, seq, connection_id, tag_id, started_at, ended_at, reason)
SELECT %(spool_id)s, g.*
FROM unnest(%(seq)s::bigint[], %(connection_id)s::integer[], %(tag_id)s::integer[], %(started_at)s::timestamptz[],
            %(ended_at)s::timestamptz[], %(reason)s::text[]) AS g
