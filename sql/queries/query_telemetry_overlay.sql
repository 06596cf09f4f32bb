-- The first dropped day of a range for which readings of metrics of these wells came since, or null: telemetry does not
-- show them. Whoever writes readings of a watched day notes it, so days without a note need no look.
SELECT min(d.day)
FROM reading_days AS d
WHERE d.day BETWEEN %(first)s AND %(last)s
  AND d.dropped_at IS NOT NULL
  AND EXISTS (SELECT FROM reading_changes AS c WHERE c.day = d.day)
  AND EXISTS (
      SELECT FROM readings
      WHERE tag_id = ANY (ARRAY(
          SELECT t.tag_id FROM tags AS t WHERE t.well_id = ANY (%(wells)s) AND t.telemetry_metric IS NOT NULL
      ))
        AND time >= d.day::timestamp AT TIME ZONE 'UTC'
        AND time < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
      OFFSET 0 LIMIT 1
  )
