SELECT coalesce(max(seq), 0) + 1 FROM ingest_ledger WHERE spool_id = %(spool_id)s
