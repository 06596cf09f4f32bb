-- Gaps of a connection that its source's history may still close; those of the last month, oldest first.
SELECT started_at, ended_at, reason, tag_id
FROM ingest_gaps
WHERE connection_id = %(connection_id)s
  AND closed_at IS NULL
  AND started_at > %(since)s
ORDER BY started_at
LIMIT 1000
