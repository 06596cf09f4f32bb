-- Tags in use of the connections %(connections)s.
SELECT g.connection_id, g.tag_id, g.tenant_id, w.name, g.name, g.address, g.unit, g.quantity, g.scale, g."offset",
       g.deadband, g.low, g.high, g.interval_s, g.mode, g.sentinels, g.resolution
FROM tags g
JOIN wells w USING (tenant_id, well_id)
WHERE g.connection_id = ANY (%(connections)s::integer[])
  AND g.retired_at IS NULL
  AND w.retired_at IS NULL
ORDER BY g.tag_id
