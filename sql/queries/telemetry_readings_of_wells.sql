-- The raw readings in a window of what is a metric of a few wells.
SELECT r.time, t.well_id, t.telemetry_metric, r.value, r.quality
FROM tags t
JOIN readings r USING (tag_id)
WHERE t.well_id = ANY (%(wells)s) AND t.telemetry_metric IS NOT NULL AND r.time >= %(start)s AND r.time < %(end)s
