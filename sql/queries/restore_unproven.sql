-- Tenants whose copy of a day was proven once and is so no longer in any store.
SELECT DISTINCT ON (t.slug) t.slug, m.receipt_id, m.state, m.detail
FROM archive_manifest AS m
JOIN tenants AS t USING (tenant_id)
WHERE m.day = %(day)s AND m.verified_at IS NOT NULL
  AND NOT EXISTS (SELECT FROM archive_manifest AS v
                  WHERE v.tenant_id = m.tenant_id AND v.day = m.day AND v.state = 'verified')
ORDER BY t.slug, m.receipt_id DESC
