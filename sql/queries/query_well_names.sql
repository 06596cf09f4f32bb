-- The names of a tenant's wells.
SELECT w.name
FROM wells AS w
JOIN tenants AS t USING (tenant_id)
WHERE t.slug = %(tenant)s
ORDER BY w.name
