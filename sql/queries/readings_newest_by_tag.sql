-- The newest reading of every live tag: one step of the (tag_id, time) index each, whatever the size of readings.
SELECT tags.tag_id, tags.name AS tag, wells.name AS well, connections.name AS connection, tags.mode,
       tags.interval_s, newest.time
FROM tags
JOIN wells USING (well_id)
JOIN scada_connections AS connections USING (connection_id)
LEFT JOIN LATERAL (
    SELECT time FROM readings WHERE readings.tag_id = tags.tag_id ORDER BY time DESC LIMIT 1
) AS newest ON true
WHERE tags.retired_at IS NULL AND connections.retired_at IS NULL AND connections.enabled
ORDER BY newest.time DESC NULLS LAST, tags.tag_id
