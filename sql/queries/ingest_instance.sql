-- What is known of one instance, and whether it lives by the database's clock.
SELECT i.hostname, i.pid, i.heartbeat_at, i.stopped_at, i.spool_rows, i.oldest_spooled_time, i.forgotten_at,
       EXISTS (SELECT FROM ingest_members AS m WHERE m.spool_id = i.spool_id AND m.expires_at > clock_timestamp())
FROM ingest_instances AS i
WHERE i.spool_id = %(spool_id)s
