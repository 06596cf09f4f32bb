-- Of the days asked about, those in the warm tier that hold a reading: of a dropped day the table has only what came
-- since. The first row of a day is enough. LATERAL with LIMIT looks into the partition or chunk of each day alone; EXISTS
-- would be made a join that reads them all.
SELECT asked.day
FROM unnest(%(days)s::date[]) AS asked (day)
CROSS JOIN LATERAL (
    SELECT FROM readings
    WHERE time >= asked.day::timestamp AT TIME ZONE 'UTC' AND time < (asked.day + 1)::timestamp AT TIME ZONE 'UTC'
    LIMIT 1
) AS first_found
WHERE NOT EXISTS (SELECT FROM reading_days AS d WHERE d.day = asked.day AND d.dropped_at IS NOT NULL)
ORDER BY day
