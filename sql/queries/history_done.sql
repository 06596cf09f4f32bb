-- Which of these pieces of history are stored.
SELECT spool_id FROM ingest_ledger WHERE spool_id = ANY (%(spools)s::uuid[])
