-- The tags that an aggregate knows readings of in a window.
SELECT DISTINCT tag_id
FROM {relation}
WHERE bucket >= %(start)s AND bucket < %(end)s
ORDER BY tag_id
