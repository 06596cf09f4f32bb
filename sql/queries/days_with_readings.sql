-- Of the days asked about, those that hold a reading: the first row of a day is enough. LATERAL with LIMIT looks into
-- the partition or chunk of each day alone; EXISTS would be made a join that reads them all.
SELECT day
FROM unnest(%(days)s::date[]) AS day
CROSS JOIN LATERAL (
    SELECT FROM readings
    WHERE time >= day::timestamp AT TIME ZONE 'UTC' AND time < (day + 1)::timestamp AT TIME ZONE 'UTC'
    LIMIT 1
) AS first_found
ORDER BY day
