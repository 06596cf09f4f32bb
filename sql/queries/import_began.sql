-- When the import of this name was begun; null: never.
SELECT min(received_at) FROM ingest_ledger WHERE spool_id = %(spool_id)s
