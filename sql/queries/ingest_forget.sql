-- Closes the row of an instance that does not live, by the database's clock; what it read last is free at once.
WITH dead AS (
    SELECT spool_id FROM ingest_instances AS i
    WHERE i.spool_id = %(spool_id)s AND i.stopped_at IS NULL
      AND NOT EXISTS (
          SELECT FROM ingest_members AS m WHERE m.spool_id = i.spool_id AND m.expires_at > clock_timestamp()
      )
), closed AS (
    UPDATE ingest_instances AS i
    SET stopped_at = %(now)s, forgotten_at = %(now)s, forgotten_rows = i.spool_rows
    FROM dead WHERE i.spool_id = dead.spool_id
), gone AS (
    DELETE FROM ingest_members AS m USING dead WHERE m.spool_id = dead.spool_id
)
UPDATE ingest_leases AS l
SET released = true, expires_at = least(l.expires_at, clock_timestamp())
FROM dead WHERE l.spool_id = dead.spool_id
