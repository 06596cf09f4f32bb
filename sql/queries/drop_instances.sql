-- The ingest instances whose spools may hold readings: those at work, and those that stopped with something in them.
SELECT spool_id::text, hostname, pid, heartbeat_at, stopped_at, spool_rows, oldest_spooled_time, committed.received_at
FROM ingest_instances AS instances
LEFT JOIN LATERAL (
    SELECT received_at FROM ingest_ledger AS ledger
    WHERE ledger.spool_id = instances.spool_id ORDER BY seq DESC LIMIT 1
) AS committed ON true
WHERE stopped_at IS NULL OR (forgotten_at IS NULL AND spool_rows > 0)
ORDER BY hostname, pid
