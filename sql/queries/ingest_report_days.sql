-- Readings by day and quality in a window of source time.
SELECT (time AT TIME ZONE 'UTC')::date AS day,
       count(*) AS readings,
       count(*) FILTER (WHERE quality = 2) AS good,
       count(*) FILTER (WHERE quality = 1) AS uncertain,
       count(*) FILTER (WHERE quality = 0) AS bad,
       count(DISTINCT tag_id) AS tags,
       max(time) AS newest
FROM readings
WHERE time >= %(since)s AND time < %(until)s
GROUP BY day
ORDER BY day
