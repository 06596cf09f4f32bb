-- Tags in use of the tenants %(tenants)s (null: of all), oldest first.
SELECT t.slug, c.name, g.name, w.name, g.address, g.unit, g.quantity, g.metric, g.scale, g."offset", g.deadband,
       g.resolution, g.low, g.high, g.interval_s, g.mode, g.sentinels
FROM tags g
JOIN wells w USING (well_id)
JOIN scada_connections c USING (connection_id)
JOIN tenants t ON t.tenant_id = g.tenant_id
WHERE g.retired_at IS NULL AND (%(tenants)s::text[] IS NULL OR t.slug = ANY (%(tenants)s::text[]))
ORDER BY g.tag_id
