-- Of the days that are dropped, those for which readings came since, oldest first.
SELECT d.day
FROM reading_days AS d
CROSS JOIN LATERAL (
    SELECT FROM readings
    WHERE time >= d.day::timestamp AT TIME ZONE 'UTC' AND time < (d.day + 1)::timestamp AT TIME ZONE 'UTC'
    LIMIT 1
) AS first_found
WHERE d.dropped_at IS NOT NULL
ORDER BY d.day
