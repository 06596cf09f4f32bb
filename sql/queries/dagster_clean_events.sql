-- Removes a batch of what runs wrote to their logs long ago: never what says that an asset was materialised, observed or
-- checked, nor how a run or a step began and ended. Times are UTC without a zone.
DELETE FROM event_logs
WHERE id IN (
    SELECT e.id
    FROM event_logs AS e
    JOIN runs AS r ON r.run_id = e.run_id
    WHERE e.timestamp < %(before)s
      AND e.asset_key IS NULL
      AND (e.dagster_event_type IS NULL OR e.dagster_event_type = ANY (%(kinds)s))
      AND r.status IN ('SUCCESS', 'FAILURE', 'CANCELED')
    LIMIT %(batch)s
)
