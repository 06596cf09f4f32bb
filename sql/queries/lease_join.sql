INSERT INTO ingest_members (spool_id, max_connections, expires_at)
VALUES (%(spool_id)s, %(max_connections)s, clock_timestamp() + make_interval(secs => %(ttl_s)s))
ON CONFLICT (spool_id) DO UPDATE
SET max_connections = excluded.max_connections, expires_at = excluded.expires_at
