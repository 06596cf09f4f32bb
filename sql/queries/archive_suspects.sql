-- Dropped days whose proven copy was found damaged later: the receipt it had, should the copy be put right.
SELECT t.slug AS tenant, m.tenant_id, m.day, m.store, m.receipt_id, m.rows, m.checksum_a, m.checksum_b, m.connections,
       m.first_time, m.last_time, m.bytes, m.location, m.file_sha256, m.job_id, m.schema_version, m.watermark,
       m.verified_at, m.duration_s, d.dropped_at, d.restored_at, d.keep_until, false AS stale
FROM archive_manifest AS m
JOIN tenants AS t USING (tenant_id)
JOIN reading_days AS d USING (day)
WHERE m.store = %(store)s AND m.state = 'quarantined' AND m.verified_at IS NOT NULL AND d.dropped_at IS NOT NULL
  AND (%(tenants)s::text[] IS NULL OR t.slug = ANY (%(tenants)s))
  AND (%(since)s::date IS NULL OR m.day >= %(since)s) AND (%(until)s::date IS NULL OR m.day <= %(until)s)
  AND NOT EXISTS (SELECT FROM archive_manifest AS later
                  WHERE (later.tenant_id, later.day, later.store) = (m.tenant_id, m.day, m.store)
                    AND later.receipt_id > m.receipt_id AND later.verified_at IS NOT NULL)
ORDER BY m.day, t.slug
