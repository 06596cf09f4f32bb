-- The ingest instances that have not said goodbye, with what waits in their spools.
SELECT spool_id::text, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, committed.received_at AS committed_to,
       spool_rows, spool_bytes, spool_seconds_left
FROM ingest_instances AS instances
LEFT JOIN LATERAL (
    SELECT received_at FROM ingest_ledger AS ledger
    WHERE ledger.spool_id = instances.spool_id ORDER BY seq DESC LIMIT 1
) AS committed ON true
WHERE stopped_at IS NULL
ORDER BY started_at
