-- Quarantined items, the newest first; a condition that is null does not count.
SELECT q.quarantine_id, coalesce(t.slug, '') AS tenant, coalesce(c.name, '') AS connection, q.connection_id,
       coalesce(c.protocol, '') AS protocol, q.reason, q.detail, q.source, octet_length(q.original) AS bytes,
       q.received_at, q.spool_id, q.seq, q.ordinal, q.resolved_at, q.resolution, q.resolved_by, q.resolution_detail
FROM quarantine AS q
LEFT JOIN scada_connections AS c USING (connection_id)
LEFT JOIN tenants AS t USING (tenant_id)
WHERE (%(ids)s::bigint[] IS NULL OR q.quarantine_id = ANY (%(ids)s::bigint[]))
  AND (%(tenant)s::text IS NULL OR t.slug = %(tenant)s::text)
  AND (%(connection)s::text IS NULL OR c.name = %(connection)s::text)
  AND (%(reason)s::text IS NULL OR q.reason = %(reason)s::text)
  AND (%(since)s::timestamptz IS NULL OR q.received_at >= %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR q.received_at < %(until)s::timestamptz)
  AND (%(resolved)s::boolean OR q.resolved_at IS NULL)
ORDER BY q.received_at DESC, q.quarantine_id DESC
LIMIT %(limit)s
