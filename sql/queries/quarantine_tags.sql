-- Of these tags, what decides whether a reading of theirs may be stored, and with which quality.
SELECT g.tag_id, t.slug, g.connection_id, g.retired_at IS NOT NULL, g.low, g.high,
       ARRAY (SELECT s * g.scale + g."offset" FROM unnest(g.sentinels) AS s)
FROM tags AS g
JOIN tenants AS t USING (tenant_id)
WHERE g.tag_id = ANY (%(tags)s::integer[])
