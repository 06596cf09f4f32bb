-- The raw readings of a few tags in a window.
SELECT time, tag_id, value, quality
FROM readings
WHERE tag_id = ANY (%(tags)s) AND time >= %(start)s AND time < %(end)s
