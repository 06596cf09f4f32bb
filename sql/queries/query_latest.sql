-- The newest reading of each of these tags that has one.
SELECT newest.time, t.tag_id, newest.value, newest.quality, newest.status
FROM unnest(%(tags)s::integer[]) AS t (tag_id)
CROSS JOIN LATERAL (
    SELECT r.time, r.value, r.quality, r.status
    FROM readings AS r
    WHERE r.tag_id = t.tag_id
    ORDER BY r.time DESC
    LIMIT 1
) AS newest
