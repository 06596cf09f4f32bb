INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, spool_rows,
                              spool_bytes, spool_seconds_left, stopped_at)
VALUES (%(spool_id)s, %(hostname)s, %(pid)s, %(started_at)s, %(now)s, %(oldest)s, %(rows)s, %(bytes)s, %(left)s,
        %(stopped_at)s)
ON CONFLICT (spool_id) DO UPDATE
SET hostname = excluded.hostname, pid = excluded.pid, started_at = excluded.started_at,
    heartbeat_at = excluded.heartbeat_at, oldest_spooled_time = excluded.oldest_spooled_time,
    spool_rows = excluded.spool_rows, spool_bytes = excluded.spool_bytes,
    spool_seconds_left = excluded.spool_seconds_left, stopped_at = excluded.stopped_at
