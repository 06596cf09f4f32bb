-- Ids of the connections that ingest must read anew: altered themselves, or with an altered tag, before or after.
WITH named AS (
    SELECT slug, name AS connection FROM fleet_plan WHERE kind = 'connection' AND action <> 'unchanged'
    UNION
    SELECT slug, old ->> 'connection' FROM fleet_plan WHERE kind = 'tag' AND action <> 'unchanged'
    UNION
    SELECT f.slug, f.connection
    FROM fleet_plan p
    JOIN fleet_tags f ON f.slug = p.slug AND f.well = p.well AND f.name = p.name
    WHERE p.kind = 'tag' AND p.action <> 'unchanged'
    UNION
    SELECT slug, c.name
    FROM fleet_plan
    JOIN tenants t USING (slug)
    JOIN scada_connections c USING (tenant_id)
    WHERE kind = 'tenant' AND action = 'restored'
)
SELECT c.connection_id
FROM named
JOIN tenants t USING (slug)
JOIN scada_connections c ON c.tenant_id = t.tenant_id AND c.name = named.connection
ORDER BY c.connection_id
