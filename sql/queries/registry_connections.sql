-- Connections that ingest reads: enabled and in use; all of them, or those whose names are in %(names)s.
SELECT c.connection_id, c.tenant_id, t.slug, c.name, c.protocol, c.config
FROM scada_connections c
JOIN tenants t USING (tenant_id)
WHERE c.enabled
  AND c.retired_at IS NULL
  AND t.retired_at IS NULL
  AND (%(names)s::text[] IS NULL OR c.name = ANY (%(names)s::text[]))
ORDER BY c.connection_id
