-- Connections in use of the tenants %(tenants)s (null: of all), oldest first.
SELECT t.slug, c.name, c.protocol, c.enabled, c.config
FROM scada_connections c
JOIN tenants t USING (tenant_id)
WHERE c.retired_at IS NULL AND (%(tenants)s::text[] IS NULL OR t.slug = ANY (%(tenants)s::text[]))
ORDER BY c.connection_id
