-- The ingest instances that have not said goodbye, with what waits in their spools.
SELECT spool_id::text, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, spool_rows, spool_bytes,
       spool_seconds_left
FROM ingest_instances
WHERE stopped_at IS NULL
ORDER BY started_at
