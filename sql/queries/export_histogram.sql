-- How many readings a tag has in each of the equal parts of a window; parts without any are left out.
SELECT width_bucket(time, %(bounds)s::timestamptz[]) - 1 AS part, count(*)
FROM readings
WHERE tag_id = %(tag)s AND time >= %(since)s AND time < %(until)s
GROUP BY 1
