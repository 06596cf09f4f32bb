-- The ledger rows of frames whose readings this transaction has just written, and the note of the days it changed.
INSERT INTO ingest_ledger (spool_id, seq, connection_id, received, quarantined, duplicates, shed, rows,
                           stored, repeated, replaced, superseded, poisoned, received_at, newest_day)
SELECT %(spool_id)s, f.*, (SELECT max(d) FROM unnest(%(days)s::date[]) AS d)
FROM unnest(%(seq)s::bigint[], %(connection_id)s::integer[], %(received)s::integer[], %(quarantined)s::integer[],
            %(duplicates)s::integer[], %(shed)s::integer[], %(rows)s::integer[], %(stored)s::integer[],
            %(repeated)s::integer[], %(replaced)s::integer[], %(superseded)s::integer[], %(poisoned)s::integer[],
            %(received_at)s::timestamptz[]) AS f
CROSS JOIN note_readings_changed(%(days)s::date[])
