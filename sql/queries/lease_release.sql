-- What was received before now stays valid.
WITH released AS (
    UPDATE ingest_leases AS l
    SET expires_at = clock_timestamp(), released = true, heard_us = greatest(l.heard_us, f.heard_us)
    FROM unnest(%(connection_id)s::integer[], %(term)s::bigint[], %(heard_us)s::bigint[])
         AS f (connection_id, term, heard_us)
    WHERE l.connection_id = f.connection_id AND l.term = f.term AND l.spool_id = %(spool_id)s
    RETURNING l.connection_id, l.term
)
UPDATE ingest_lease_terms AS t
SET valid_until_us = greatest(t.valid_until_us, %(now_us)s)
FROM released
WHERE t.connection_id = released.connection_id AND t.term = released.term
