-- Receipts in force of a store, in order, with whether the day changed since.
SELECT tenant, tenant_id, day, store, receipt_id, rows, checksum_a, checksum_b, connections, first_time, last_time, bytes,
       location, file_sha256, job_id, schema_version, watermark, verified_at, duration_s, dropped_at, restored_at,
       keep_until, stale
FROM archive_receipts
WHERE store = %(store)s AND (%(tenants)s::text[] IS NULL OR tenant = ANY (%(tenants)s))
  AND (%(since)s::date IS NULL OR day >= %(since)s) AND (%(until)s::date IS NULL OR day <= %(until)s)
ORDER BY day, tenant
