-- Time of the newest reading of each of these tags in a span, of those that have one.
SELECT t.tag_id, newest.time
FROM unnest(%(tags)s::integer[]) AS t (tag_id)
CROSS JOIN LATERAL (
    SELECT r.time
    FROM readings AS r
    WHERE r.tag_id = t.tag_id AND r.time >= %(start)s AND r.time < %(end)s
    ORDER BY r.time DESC
    LIMIT 1
) AS newest
