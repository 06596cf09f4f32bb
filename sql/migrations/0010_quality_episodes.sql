-- Quality events as people read them: names, and whether each goes on.

CREATE VIEW quality_episodes AS
SELECT e.event_id,
       e.tenant_id,
       s.slug AS tenant,
       w.name AS well_name,
       c.name AS connection_name,
       t.name AS tag_name,
       t.unit,
       e.check_name,
       e.severity,
       CASE
           WHEN e.ended_at IS NOT NULL THEN 'ended'
           WHEN EXISTS (
               SELECT FROM quality_events l
               WHERE l.tag_id = e.tag_id AND l.check_name = e.check_name AND l.started_at > e.started_at
           ) THEN 'left open'
           ELSE 'open'
       END AS state,
       e.started_at,
       e.ended_at,
       e.evidence,
       e.updated_at
FROM quality_events e
JOIN tenants s ON s.tenant_id = e.tenant_id
LEFT JOIN wells w ON w.well_id = e.well_id
LEFT JOIN scada_connections c ON c.connection_id = e.connection_id
LEFT JOIN tags t ON t.tag_id = e.tag_id;
COMMENT ON VIEW quality_episodes IS 'Every quality event with its names; left open: what ended it was lost, and a later one of its tag and check has begun.';
