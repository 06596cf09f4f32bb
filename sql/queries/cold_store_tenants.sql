SELECT DISTINCT t.slug
FROM archive_manifest AS m JOIN tenants AS t USING (tenant_id)
WHERE m.store = %(store)s AND m.state IN ('verified', 'replaced', 'quarantined')
ORDER BY t.slug
