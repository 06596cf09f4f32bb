-- Which of these sequences the ledger has, and what tells a frame from another one of the same sequence.
SELECT seq, connection_id, (extract(epoch FROM received_at) * 1000000)::bigint, rows
FROM ingest_ledger WHERE spool_id = %(spool_id)s AND seq BETWEEN %(first_seq)s AND %(last_seq)s
