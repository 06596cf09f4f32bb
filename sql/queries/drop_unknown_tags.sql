-- Tags that a day has readings of and the registry does not know.
SELECT tag_id
FROM (SELECT DISTINCT tag_id FROM readings WHERE time >= %(since)s AND time < %(until)s) AS found
WHERE NOT EXISTS (SELECT FROM tags WHERE tags.tag_id = found.tag_id)
ORDER BY tag_id
LIMIT 10
