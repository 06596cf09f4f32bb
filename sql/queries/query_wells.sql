-- A tenant's wells, in use or retired.
SELECT t.tenant_id, w.well_id, w.name
FROM tenants AS t
LEFT JOIN wells AS w USING (tenant_id)
WHERE t.slug = %(tenant)s
ORDER BY w.well_id
