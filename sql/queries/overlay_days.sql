-- Days to be archived anew, oldest first: dropped ones for which readings came since, and restored ones that nobody wants
-- to keep.
SELECT d.day
FROM reading_days AS d
WHERE CASE WHEN d.dropped_at IS NULL THEN d.keep_until <= d.restored_at
           ELSE EXISTS (SELECT FROM reading_changes AS c WHERE c.day = d.day) AND EXISTS (
               SELECT FROM readings
               WHERE time >= d.day::timestamp AT TIME ZONE 'UTC' AND time < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
               OFFSET 0 LIMIT 1
           )
      END
ORDER BY d.day
