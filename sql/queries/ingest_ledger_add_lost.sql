-- A sequence that cannot be read back from the spool still has its row, so that the ledger has no hole.
INSERT INTO ingest_ledger (spool_id, seq, connection_id, received, quarantined, duplicates, shed, rows, stored, received_at)
SELECT %(spool_id)s, seq, %(connection_id)s, 0, 0, 0, 0, 0, 0, %(received_at)s
FROM generate_series(%(first_seq)s::bigint, %(last_seq)s::bigint) AS seq
ON CONFLICT (spool_id, seq) DO NOTHING
