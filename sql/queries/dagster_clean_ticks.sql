-- Removes ticks of schedules and sensors that Dagster's own retention no longer reaches, as those are gone. The newest
-- of each stays: it says where a schedule goes on.
DELETE FROM job_ticks
WHERE timestamp < %(before)s
  AND status <> 'STARTED'
  AND id NOT IN (SELECT max(id) FROM job_ticks GROUP BY coalesce(selector_id, job_origin_id))
