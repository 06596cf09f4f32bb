-- BigQuery: a day's readings of a range of tags.
SELECT UNIX_MICROS(time) AS time, tag_id, value, quality, status
FROM `{readings}`
WHERE time >= @since AND time < @until AND tag_id BETWEEN @first AND @last
ORDER BY tag_id, time
