-- Readings of some tags in a window, one row a tag: its readings packed in binary, the newest first. That is the order
-- of the index and of compressed segments, and a message a tag costs a client nothing beside a message a reading.
SELECT tag_id,
       string_agg(timestamptz_send(time) || float8send(value) || int2send(quality) || int4send(status), '') AS packed
FROM (
    SELECT time, tag_id, value, quality, status
    FROM readings
    WHERE tag_id = ANY (%(tags)s::integer[]) AND time >= %(since)s AND time < %(until)s
    ORDER BY tag_id, time DESC
) AS sorted
GROUP BY tag_id
ORDER BY tag_id
