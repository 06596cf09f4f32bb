-- Tenants that have no copy of a day in one store, and a proven one in another.
SELECT DISTINCT r.tenant, r.store
FROM archive_receipts AS r
WHERE r.day = %(day)s
  AND NOT EXISTS (SELECT FROM archive_receipts AS o
                  WHERE o.tenant_id = r.tenant_id AND o.day = r.day AND o.store = %(store)s)
ORDER BY r.tenant
