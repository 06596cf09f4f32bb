-- Every tenant with each of its connections, in use or retired: what a person may name.
SELECT t.slug, c.name
FROM tenants AS t
LEFT JOIN scada_connections AS c USING (tenant_id)
ORDER BY t.slug, c.name
