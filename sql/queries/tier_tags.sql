-- Every tag with its tenant; retired ones too, as their readings are kept.
SELECT t.slug AS tenant, g.tag_id, coalesce(g.retired_at, t.retired_at) AS retired_at
FROM tags AS g
JOIN tenants AS t USING (tenant_id)
ORDER BY g.tag_id
