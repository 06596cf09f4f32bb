-- Every live connection: what it is, how many tags come over it, who reads it, and what ingest last said of it.
SELECT tenants.slug AS tenant, connections.name AS connection, connections.protocol, connections.enabled,
       count(tags.tag_id)              AS tags,
       count(DISTINCT tags.well_id)    AS wells,
       coalesce(state.state, 'unknown') AS state,
       state.since, state.last_reading_at, state.readings_total, state.readings_per_s, state.error, state.loss_window,
       lease.spool_id::text            AS owner,
       owner.hostname, owner.pid, lease.term,
       lease.expires_at                AS lease_until,
       lease.expires_at > clock_timestamp() AS leased
FROM scada_connections AS connections
JOIN tenants USING (tenant_id)
LEFT JOIN tags ON tags.connection_id = connections.connection_id AND tags.retired_at IS NULL
LEFT JOIN ingest_connections AS state ON state.connection_id = connections.connection_id
LEFT JOIN ingest_leases AS lease ON lease.connection_id = connections.connection_id
LEFT JOIN ingest_instances AS owner ON owner.spool_id = lease.spool_id
WHERE connections.retired_at IS NULL
GROUP BY tenants.slug, connections.connection_id, state.connection_id, lease.connection_id, owner.spool_id
ORDER BY tenants.slug, connections.name
