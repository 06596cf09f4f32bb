-- Gaps of these connections that nothing has closed.
SELECT connection_id, tag_id, started_at, ended_at
FROM ingest_gaps
WHERE connection_id = ANY (%(connections)s::integer[]) AND closed_at IS NULL
ORDER BY gap_id
