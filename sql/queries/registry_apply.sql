-- Carries out the plan. Nothing is deleted; ids are never given to another tag.
INSERT INTO tenants (slug, name)
SELECT f.slug, f.name
FROM fleet_tenants f
JOIN fleet_plan p ON p.kind = 'tenant' AND p.slug = f.slug AND p.action = 'added'
ORDER BY f.position;

UPDATE tenants t
SET name = f.name, retired_at = NULL
FROM fleet_tenants f
JOIN fleet_plan p ON p.kind = 'tenant' AND p.slug = f.slug AND p.action IN ('changed', 'restored')
WHERE t.slug = f.slug;

INSERT INTO wells (tenant_id, name, api_number, lift_type, route, timezone, contract_hour)
SELECT t.tenant_id, f.name, f.api_number, f.lift_type, f.route, f.timezone, f.contract_hour
FROM fleet_wells f
JOIN fleet_plan p ON p.kind = 'well' AND p.slug = f.slug AND p.name = f.name AND p.action = 'added'
JOIN tenants t ON t.slug = f.slug
ORDER BY f.position;

UPDATE wells w
SET api_number = f.api_number, lift_type = f.lift_type, route = f.route, timezone = f.timezone,
    contract_hour = f.contract_hour, retired_at = NULL
FROM fleet_wells f
JOIN fleet_plan p ON p.kind = 'well' AND p.slug = f.slug AND p.name = f.name AND p.action IN ('changed', 'restored')
WHERE w.well_id = p.id;

INSERT INTO scada_connections (tenant_id, name, protocol, enabled, config)
SELECT t.tenant_id, f.name, f.protocol, f.enabled, f.config
FROM fleet_connections f
JOIN fleet_plan p ON p.kind = 'connection' AND p.slug = f.slug AND p.name = f.name AND p.action = 'added'
JOIN tenants t ON t.slug = f.slug
ORDER BY f.position;

UPDATE scada_connections c
SET protocol = f.protocol, enabled = f.enabled, config = f.config, retired_at = NULL
FROM fleet_connections f
JOIN fleet_plan p
  ON p.kind = 'connection' AND p.slug = f.slug AND p.name = f.name AND p.action IN ('changed', 'restored')
WHERE c.connection_id = p.id;

INSERT INTO tags (tenant_id, well_id, connection_id, name, address, unit, quantity, metric, scale, "offset", deadband,
                  resolution, low, high, interval_s, mode, sentinels)
SELECT t.tenant_id, w.well_id, c.connection_id, f.name, f.address, f.unit, f.quantity, f.metric, f.scale, f."offset",
       f.deadband, f.resolution, f.low, f.high, f.interval_s, f.mode, f.sentinels
FROM fleet_tags f
JOIN fleet_plan p ON p.kind = 'tag' AND p.slug = f.slug AND p.well = f.well AND p.name = f.name AND p.action = 'added'
JOIN tenants t ON t.slug = f.slug
JOIN wells w ON w.tenant_id = t.tenant_id AND w.name = f.well
JOIN scada_connections c ON c.tenant_id = t.tenant_id AND c.name = f.connection
ORDER BY f.position;

UPDATE tags g
SET connection_id = c.connection_id, address = f.address, unit = f.unit, quantity = f.quantity, metric = f.metric,
    scale = f.scale, "offset" = f."offset", deadband = f.deadband, resolution = f.resolution, low = f.low, high = f.high,
    interval_s = f.interval_s, mode = f.mode, sentinels = f.sentinels, retired_at = NULL
FROM fleet_tags f
JOIN fleet_plan p
  ON p.kind = 'tag' AND p.slug = f.slug AND p.well = f.well AND p.name = f.name AND p.action IN ('changed', 'restored')
JOIN tenants t ON t.slug = f.slug
JOIN scada_connections c ON c.tenant_id = t.tenant_id AND c.name = f.connection
WHERE g.tag_id = p.id;

UPDATE tags g
SET retired_at = now()
FROM fleet_plan p
WHERE p.kind = 'tag' AND p.action = 'retired' AND g.tag_id = p.id;

UPDATE scada_connections c
SET retired_at = now()
FROM fleet_plan p
WHERE p.kind = 'connection' AND p.action = 'retired' AND c.connection_id = p.id;

UPDATE wells w
SET retired_at = now()
FROM fleet_plan p
WHERE p.kind = 'well' AND p.action = 'retired' AND w.well_id = p.id;
