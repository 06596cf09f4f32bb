-- Of every tenant that owns tags, live or retired, the receipt in force of one day and store; null where there is none.
SELECT t.slug AS tenant, t.tenant_id, r.receipt_id, r.rows, r.checksum_a, r.checksum_b, r.stale, r.watermark
FROM tenants AS t
LEFT JOIN archive_receipts AS r ON r.tenant_id = t.tenant_id AND r.day = %(day)s AND r.store = %(store)s
WHERE EXISTS (SELECT FROM tags WHERE tags.tenant_id = t.tenant_id)
ORDER BY t.slug
