-- How many readings the newest copy of a tenant's day that was ever proven had.
SELECT rows FROM archive_manifest
WHERE tenant_id = %(tenant)s AND day = %(day)s AND store = %(store)s AND verified_at IS NOT NULL
ORDER BY receipt_id DESC LIMIT 1
