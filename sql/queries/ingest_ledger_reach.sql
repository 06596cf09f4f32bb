-- How far the ledger has a spool's sequences without a hole, looking from %(first)s (before it nothing could be stored
-- again) to %(last)s, and its last one. Rows before the ledger's first were deleted with age: they are not missing.
WITH ends AS (
    SELECT min(seq) AS lowest, max(seq) AS highest, greatest(min(seq), %(first)s::bigint) AS start
    FROM ingest_ledger WHERE spool_id = %(spool_id)s
), run AS (
    -- As long as there is no hole, a sequence and its number in order go up together.
    SELECT seq - row_number() OVER (ORDER BY seq) + 1 AS origin
    FROM ingest_ledger, ends
    WHERE spool_id = %(spool_id)s AND seq BETWEEN ends.start AND %(last)s::bigint
)
SELECT CASE
           WHEN highest IS NULL THEN 0
           WHEN highest < start THEN least(highest, %(last)s::bigint)
           ELSE least(start - 1 + (SELECT count(*) FROM run WHERE origin = start), %(last)s::bigint)
       END,
       coalesce(highest, 0)
FROM ends
