-- BigQuery: readings of some tags between two times; the filter on time is what picks the partitions.
SELECT UNIX_MICROS(time) AS time, tag_id, value, quality, status
FROM `{readings}`
WHERE time >= @since AND time < @until AND tag_id IN UNNEST(@tags)
ORDER BY tag_id, time
