-- Claims connections that nobody reads; our own of a former life first, and under their old term, so that what waits in
-- the spool keeps the right to be stored. FOR UPDATE waits for no one, and shuts out every commit that holds KEY SHARE.
WITH candidates AS (
    SELECT c.connection_id
    FROM scada_connections AS c
    JOIN tenants AS t USING (tenant_id)
    LEFT JOIN ingest_leases AS l USING (connection_id)
    WHERE c.enabled AND c.retired_at IS NULL AND t.retired_at IS NULL
      AND c.connection_id <> ALL (%(held)s::integer[])
      AND (l.connection_id IS NULL OR l.spool_id = %(spool_id)s
           OR (l.expires_at <= clock_timestamp() AND (l.released OR %(expired)s)))
    ORDER BY l.spool_id IS NOT DISTINCT FROM %(spool_id)s DESC, c.connection_id
    LIMIT %(most)s
), locked AS (
    SELECT l.connection_id
    FROM ingest_leases AS l
    JOIN candidates USING (connection_id)
    WHERE l.spool_id = %(spool_id)s OR l.expires_at <= clock_timestamp()
    ORDER BY l.connection_id
    FOR UPDATE OF l SKIP LOCKED
), moved AS (
    UPDATE ingest_leases AS l
    SET term = CASE WHEN l.spool_id = %(spool_id)s THEN l.term ELSE l.term + 1 END, spool_id = %(spool_id)s,
        claimed_at = clock_timestamp(), released = false,
        expires_at = clock_timestamp() + make_interval(secs => %(ttl_s)s)
    FROM locked
    WHERE l.connection_id = locked.connection_id
    RETURNING l.connection_id, l.term, l.heard_us
), made AS (
    INSERT INTO ingest_leases (connection_id, spool_id, term, claimed_at, expires_at)
    SELECT connection_id, %(spool_id)s, 1, clock_timestamp(), clock_timestamp() + make_interval(secs => %(ttl_s)s)
    FROM candidates
    WHERE NOT EXISTS (SELECT FROM ingest_leases AS l WHERE l.connection_id = candidates.connection_id)
    ON CONFLICT (connection_id) DO NOTHING
    RETURNING connection_id, term, heard_us
), claimed AS (
    SELECT * FROM moved UNION ALL SELECT * FROM made
), terms AS (
    INSERT INTO ingest_lease_terms AS t (connection_id, term, spool_id, valid_until_us)
    SELECT connection_id, term, %(spool_id)s, %(valid_until_us)s FROM claimed
    ON CONFLICT (connection_id, term) DO UPDATE
    SET valid_until_us = greatest(t.valid_until_us, excluded.valid_until_us)
)
SELECT connection_id, term, heard_us FROM claimed
