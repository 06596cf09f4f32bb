-- The values that lost a conflict under these keys.
SELECT r.tag_id, (extract(epoch FROM r.time) * 1000000)::bigint, r.value, r.quality, r.status::bigint & 4294967295
FROM unnest(%(tags)s::integer[], %(times)s::timestamptz[]) AS k (tag_id, time)
JOIN reading_revisions AS r USING (tag_id, time)
