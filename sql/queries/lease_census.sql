-- How many connections there are to read, how many of them nobody reads, and when the next of another's may run out.
SELECT count(*),
       count(*) FILTER (WHERE l.connection_id IS NULL OR l.expires_at <= clock_timestamp()),
       extract(epoch FROM min(l.expires_at) FILTER (WHERE l.spool_id <> %(spool_id)s AND l.expires_at > clock_timestamp())
                          - clock_timestamp())::double precision
FROM scada_connections AS c
JOIN tenants AS t USING (tenant_id)
LEFT JOIN ingest_leases AS l USING (connection_id)
WHERE c.enabled AND c.retired_at IS NULL AND t.retired_at IS NULL
