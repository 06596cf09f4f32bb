-- The instances alive, and how many connections each of them reads.
SELECT m.spool_id, m.max_connections, count(l.connection_id)
FROM ingest_members AS m
LEFT JOIN ingest_leases AS l ON l.spool_id = m.spool_id AND l.expires_at > clock_timestamp()
WHERE m.expires_at > clock_timestamp()
GROUP BY m.spool_id
