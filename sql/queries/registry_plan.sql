-- What applying the staged fleet would do to each tenant, well, connection and tag of the tenants it names. A row the
-- file does not hold is retired; one that was retired and is in the file again is restored under its old id.
ANALYZE fleet_tenants, fleet_wells, fleet_connections, fleet_tags;

INSERT INTO fleet_plan
SELECT 'tenant', w.slug, NULL, w.name, NULL,
       CASE WHEN p.slug IS NULL THEN 'added'
            WHEN p.retired_at IS NOT NULL THEN 'restored'
            WHEN w.name <> p.name THEN 'changed'
            ELSE 'unchanged' END,
       jsonb_build_object('name', p.name), jsonb_build_object('name', w.name)
FROM fleet_tenants w
LEFT JOIN tenants p USING (slug)
ORDER BY w.position;

INSERT INTO fleet_plan
WITH wanted AS (
    SELECT slug, name, api_number, lift_type, route, timezone, contract_hour FROM fleet_wells
), present AS (
    SELECT t.slug, w.name, w.api_number, w.lift_type, w.route, w.timezone, w.contract_hour, w.well_id, w.retired_at
    FROM wells w
    JOIN tenants t USING (tenant_id)
    WHERE t.slug IN (SELECT slug FROM fleet_tenants)
)
SELECT 'well', slug, NULL, name, p.well_id,
       CASE WHEN p.well_id IS NULL THEN 'added'
            WHEN w.lift_type IS NULL THEN 'retired'
            WHEN p.retired_at IS NOT NULL THEN 'restored'
            WHEN (w.api_number, w.lift_type, w.route, w.timezone, w.contract_hour)
                 IS DISTINCT FROM (p.api_number, p.lift_type, p.route, p.timezone, p.contract_hour) THEN 'changed'
            ELSE 'unchanged' END,
       to_jsonb(p) - 'well_id' - 'retired_at', to_jsonb(w)
FROM wanted w
FULL JOIN present p USING (slug, name)
WHERE w.lift_type IS NOT NULL OR p.retired_at IS NULL;

INSERT INTO fleet_plan
WITH wanted AS (
    SELECT slug, name, protocol, enabled, config FROM fleet_connections
), present AS (
    SELECT t.slug, c.name, c.protocol, c.enabled, c.config, c.connection_id, c.retired_at
    FROM scada_connections c
    JOIN tenants t USING (tenant_id)
    WHERE t.slug IN (SELECT slug FROM fleet_tenants)
)
SELECT 'connection', slug, NULL, name, p.connection_id,
       CASE WHEN p.connection_id IS NULL THEN 'added'
            WHEN w.protocol IS NULL THEN 'retired'
            WHEN p.retired_at IS NOT NULL THEN 'restored'
            WHEN (w.protocol, w.enabled, w.config) IS DISTINCT FROM (p.protocol, p.enabled, p.config) THEN 'changed'
            ELSE 'unchanged' END,
       to_jsonb(p) - 'connection_id' - 'retired_at', to_jsonb(w)
FROM wanted w
FULL JOIN present p USING (slug, name)
WHERE w.protocol IS NOT NULL OR p.retired_at IS NULL;

INSERT INTO fleet_plan
WITH wanted AS (
    SELECT slug, well, name, connection, address, unit, quantity, metric, scale, "offset", deadband, resolution, low,
           high, interval_s, mode, sentinels
    FROM fleet_tags
), present AS (
    SELECT t.slug, w.name AS well, g.name, c.name AS connection, g.address, g.unit, g.quantity, g.metric, g.scale,
           g."offset", g.deadband, g.resolution, g.low, g.high, g.interval_s, g.mode, g.sentinels, g.tag_id, g.retired_at
    FROM tags g
    JOIN wells w USING (well_id)
    JOIN scada_connections c USING (connection_id)
    JOIN tenants t ON t.tenant_id = g.tenant_id
    WHERE t.slug IN (SELECT slug FROM fleet_tenants)
), planned AS (
    SELECT slug, well, name, p.tag_id,
           CASE WHEN p.tag_id IS NULL THEN 'added'
                WHEN w.address IS NULL THEN 'retired'
                WHEN p.retired_at IS NOT NULL THEN 'restored'
                WHEN (w.connection, w.address, w.unit, w.quantity, w.metric, w.scale, w."offset", w.deadband,
                      w.resolution, w.low, w.high, w.interval_s, w.mode, w.sentinels)
                     IS DISTINCT FROM
                     (p.connection, p.address, p.unit, p.quantity, p.metric, p.scale, p."offset", p.deadband,
                      p.resolution, p.low, p.high, p.interval_s, p.mode, p.sentinels) THEN 'changed'
                ELSE 'unchanged' END AS action,
           p, w
    FROM wanted w
    FULL JOIN present p USING (slug, well, name)
    WHERE w.address IS NOT NULL OR p.retired_at IS NULL
)
SELECT 'tag', slug, well, name, tag_id, action,
       CASE WHEN action IN ('changed', 'restored', 'retired') THEN to_jsonb(p) - 'tag_id' - 'retired_at' END,
       CASE WHEN action IN ('changed', 'restored') THEN to_jsonb(w) END
FROM planned;
ANALYZE fleet_plan;
