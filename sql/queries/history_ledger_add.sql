-- One part of a piece of history, all of it stored; `received_at` says up to which moment. Notes the days it changed.
INSERT INTO ingest_ledger (spool_id, seq, connection_id, received, quarantined, duplicates, shed, rows, stored, received_at,
                           newest_day)
SELECT %(spool)s, %(seq)s, %(connection)s, %(rows)s, 0, 0, 0, %(rows)s, %(rows)s, %(received_at)s,
       (SELECT max(d) FROM unnest(%(days)s::date[]) AS d)
FROM note_readings_changed(%(days)s::date[])
