-- Time of the oldest reading of any tag in a window: one step of the (tag_id, time) index each.
SELECT min(oldest.time)
FROM tags
CROSS JOIN LATERAL (
    SELECT time FROM readings
    WHERE readings.tag_id = tags.tag_id
      AND time >= coalesce(%(start)s, '-infinity'::timestamptz) AND time < %(end)s
    ORDER BY time
    LIMIT 1
) AS oldest
