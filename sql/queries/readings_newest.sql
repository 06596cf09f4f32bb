-- Time of the newest reading of any tag, live or retired: one step of the (tag_id, time) index each.
SELECT max(newest.time)
FROM tags
CROSS JOIN LATERAL (
    SELECT time FROM readings WHERE readings.tag_id = tags.tag_id ORDER BY time DESC LIMIT 1
) AS newest
