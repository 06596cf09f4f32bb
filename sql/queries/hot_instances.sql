-- Ingest instances that may come back to what they wrote to Redis, and how far each is with storing.
SELECT spool_id::text AS spool_id, heartbeat_at, stopped_at, oldest_spooled_time, spool_rows
FROM ingest_instances
WHERE forgotten_at IS NULL
