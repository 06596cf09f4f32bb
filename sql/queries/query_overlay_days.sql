-- Of these dropped days, between the first and the last of them, those that readings of these tags came for since.
SELECT DISTINCT (time AT TIME ZONE 'UTC')::date
FROM readings
WHERE tag_id = ANY (%(tags)s)
  AND time >= %(start)s
  AND time < %(end)s
  AND (time AT TIME ZONE 'UTC')::date = ANY (%(days)s)
