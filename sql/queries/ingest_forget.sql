-- Closes the row of an instance that does not live, by the database's clock, or that stopped with readings in its spool;
-- what it read last is free at once. What its spool held of each connection that it read last is a gap of that
-- connection, from the oldest reading to the last heartbeat. All parts see the leases as they were before.
WITH dead AS (
    SELECT spool_id, spool_rows, oldest_spooled_time, heartbeat_at FROM ingest_instances AS i
    WHERE i.spool_id = %(spool_id)s AND (i.stopped_at IS NULL OR (i.spool_rows > 0 AND i.forgotten_at IS NULL))
      AND NOT EXISTS (
          SELECT FROM ingest_members AS m WHERE m.spool_id = i.spool_id AND m.expires_at > clock_timestamp()
      )
), closed AS (
    UPDATE ingest_instances AS i
    SET stopped_at = coalesce(i.stopped_at, %(now)s), forgotten_at = %(now)s, forgotten_rows = i.spool_rows
    FROM dead WHERE i.spool_id = dead.spool_id
), gone AS (
    DELETE FROM ingest_members AS m USING dead WHERE m.spool_id = dead.spool_id
), lost AS (
    INSERT INTO ingest_gaps (spool_id, seq, connection_id, started_at, ended_at, reason)
    SELECT dead.spool_id, 0, fed.connection_id, least(dead.oldest_spooled_time, dead.heartbeat_at), dead.heartbeat_at,
           'spool_forgotten'
    FROM dead
    JOIN (
        SELECT spool_id, connection_id FROM ingest_leases
        UNION
        SELECT spool_id, connection_id FROM ingest_connections
    ) AS fed USING (spool_id)
    WHERE dead.spool_rows > 0
)
UPDATE ingest_leases AS l
SET released = true, expires_at = least(l.expires_at, clock_timestamp())
FROM dead WHERE l.spool_id = dead.spool_id
