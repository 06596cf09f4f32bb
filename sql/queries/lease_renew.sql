-- Returns the leases that are still ours and worth keeping; one that ran out while nobody else claimed it is ours too.
WITH held AS (
    UPDATE ingest_leases AS l
    SET expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s), released = false,
        heard_us = greatest(l.heard_us, f.heard_us)
    FROM unnest(%(connection_id)s::integer[], %(term)s::bigint[], %(heard_us)s::bigint[])
         AS f (connection_id, term, heard_us)
    JOIN scada_connections AS c ON c.connection_id = f.connection_id
    JOIN tenants AS t ON t.tenant_id = c.tenant_id
    WHERE l.connection_id = f.connection_id AND l.term = f.term AND l.spool_id = %(spool_id)s
      AND c.enabled AND c.retired_at IS NULL AND t.retired_at IS NULL
    RETURNING l.connection_id, l.term
), valid AS (
    UPDATE ingest_lease_terms AS t
    SET valid_until_us = greatest(t.valid_until_us, %(valid_until_us)s)
    FROM held
    WHERE t.connection_id = held.connection_id AND t.term = held.term
)
SELECT connection_id FROM held
