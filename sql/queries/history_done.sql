-- Up to where each of these pieces of history is stored, and the number of its last part.
SELECT spool_id, max(seq), max(received_at)
FROM ingest_ledger
WHERE spool_id = ANY (%(spools)s::uuid[])
GROUP BY spool_id
