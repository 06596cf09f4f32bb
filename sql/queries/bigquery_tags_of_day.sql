-- BigQuery: how many readings a day has of each tag.
SELECT tag_id, COUNT(*) AS n
FROM `{readings}`
WHERE time >= @since AND time < @until
GROUP BY tag_id
ORDER BY tag_id
