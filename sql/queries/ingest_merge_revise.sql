-- `firsts` and `seqs`: the first ordinal of each frame and its sequence. The revision names the frame that caused it.
WITH frames AS (
    SELECT seq, first, lead(first, 1, 2147483647) OVER (ORDER BY first) AS next
    FROM unnest(%(seqs)s::bigint[], %(firsts)s::integer[]) AS f (seq, first)
)
INSERT INTO reading_revisions (time, tag_id, value, quality, status, outcome, spool_id, seq)
SELECT o.time, o.tag_id,
       CASE outcome WHEN 'replaced' THEN lost_value ELSE value END,
       CASE outcome WHEN 'replaced' THEN lost_quality ELSE quality END,
       CASE outcome WHEN 'replaced' THEN lost_status ELSE status END,
       o.outcome, %(spool_id)s, f.seq
FROM merge_outcomes AS o
JOIN frames AS f ON o.ordinal >= f.first AND o.ordinal < f.next
WHERE o.outcome IN ('replaced', 'superseded')
