SELECT spool_id, max_connections FROM ingest_members WHERE expires_at > clock_timestamp() ORDER BY spool_id
