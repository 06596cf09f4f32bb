-- The readings of a day that lost to what came back from the archive.
DELETE FROM readings AS r
USING unnest(%(tags)s::integer[], %(times)s::timestamptz[]) AS k (tag_id, time)
WHERE r.tag_id = k.tag_id AND r.time = k.time AND r.time >= %(since)s AND r.time < %(until)s
