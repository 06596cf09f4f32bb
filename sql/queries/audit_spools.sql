-- Sequences of every spool in the ledger, and the revisions its frames caused.
WITH revised AS (
    SELECT spool_id, count(*) AS revisions FROM reading_revisions GROUP BY spool_id
), shed AS (
    SELECT l.spool_id, count(*) AS frames
    FROM ingest_ledger AS l
    WHERE l.shed > 0
      AND NOT EXISTS (SELECT FROM ingest_gaps AS g WHERE g.spool_id = l.spool_id AND g.seq = l.seq)
    GROUP BY l.spool_id
)
SELECT l.spool_id, min(l.seq), max(l.seq), count(*), sum(l.replaced + l.superseded)::bigint,
       coalesce(max(revised.revisions), 0), coalesce(max(shed.frames), 0)
FROM ingest_ledger AS l
LEFT JOIN revised USING (spool_id)
LEFT JOIN shed USING (spool_id)
GROUP BY l.spool_id
