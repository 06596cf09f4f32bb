INSERT INTO quarantine (spool_id, seq, ordinal, connection_id, reason, detail, source, original, received_at)
SELECT %(spool_id)s, q.*
FROM unnest(%(seq)s::bigint[], %(ordinal)s::integer[], %(connection_id)s::integer[], %(reason)s::text[],
            %(detail)s::text[], %(source)s::text[], %(original)s::bytea[], %(received_at)s::timestamptz[]) AS q
ON CONFLICT (spool_id, seq, ordinal) DO NOTHING
