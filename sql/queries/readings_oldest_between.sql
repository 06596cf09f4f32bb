-- Time of the oldest reading in a window of any tag, or with %(metrics)s of those that are a metric: one step of the
-- (tag_id, time) index each.
SELECT min(oldest.time)
FROM tags
CROSS JOIN LATERAL (
    SELECT time FROM readings
    WHERE readings.tag_id = tags.tag_id
      AND time >= coalesce(%(start)s, '-infinity'::timestamptz) AND time < %(end)s
    ORDER BY time
    LIMIT 1
) AS oldest
WHERE NOT %(metrics)s OR tags.telemetry_metric IS NOT NULL
