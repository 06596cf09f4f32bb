SELECT seq FROM ingest_ledger WHERE spool_id = %(spool_id)s AND seq BETWEEN %(first_seq)s AND %(last_seq)s
