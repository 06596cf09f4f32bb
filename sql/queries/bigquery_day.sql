-- BigQuery: the readings of a day; the filter on time is what picks the partition.
SELECT time, tag_id, value, quality, status FROM `{readings}` WHERE time >= @since AND time < @until
