-- Of the days asked about, those that hold a reading. The first row of a day is enough: one look a day.
SELECT day
FROM unnest(%(days)s::date[]) AS day
WHERE EXISTS (
    SELECT FROM readings
    WHERE time >= day::timestamp AT TIME ZONE 'UTC' AND time < (day + 1)::timestamp AT TIME ZONE 'UTC'
)
ORDER BY day
