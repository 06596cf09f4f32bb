-- For each (tag, time): what is stored, then the staged rows in the order they were received. A row wins when its
-- quality is at least that of the best before it; the winner before it then goes to the revisions.
-- Ordinal -1 is the stored row. Says of every staged row what became of it, and whom it was compared with.
WITH candidates AS (
    SELECT ordinal, time, tag_id, value, quality, status FROM staged_readings
    UNION ALL
    SELECT -1, r.time, r.tag_id, r.value, r.quality, r.status
    FROM (SELECT DISTINCT tag_id, time FROM staged_readings) AS k
    CROSS JOIN LATERAL (
        SELECT * FROM readings
        WHERE readings.tag_id = k.tag_id AND readings.time = k.time
          AND readings.time BETWEEN %(since)s AND %(until)s
        LIMIT 1
    ) AS r
), ranked AS (
    SELECT *, quality >= coalesce(max(quality) OVER earlier, -1) AS wins
    FROM candidates
    WINDOW earlier AS (PARTITION BY tag_id, time ORDER BY ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), judged AS (
    SELECT *, max(ordinal) FILTER (WHERE wins) OVER earlier AS winner
    FROM ranked
    WINDOW earlier AS (PARTITION BY tag_id, time ORDER BY ordinal ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
)
INSERT INTO merge_outcomes
SELECT j.ordinal, j.time, j.tag_id, j.value, j.quality, j.status,
       CASE WHEN j.winner IS NULL THEN 'stored'
            WHEN (j.value, j.quality, j.status) = (w.value, w.quality, w.status) THEN 'repeated'
            WHEN j.wins THEN 'replaced'
            ELSE 'superseded' END,
       w.value, w.quality, w.status
FROM judged AS j
LEFT JOIN judged AS w ON w.tag_id = j.tag_id AND w.time = j.time AND w.ordinal = j.winner
WHERE j.ordinal >= 0
