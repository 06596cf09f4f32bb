-- A well by its names, with every tag it has or had.
SELECT t.tenant_id, w.well_id, g.tag_id, g.name, g.interval_s, g.connection_id
FROM tenants AS t
JOIN wells AS w USING (tenant_id)
LEFT JOIN tags AS g USING (well_id)
WHERE t.slug = %(tenant)s AND w.name = %(well)s
ORDER BY g.tag_id
