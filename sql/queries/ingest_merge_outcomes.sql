-- `firsts` and `seqs`: the first ordinal of each frame and its sequence.
WITH frames AS (
    SELECT seq, first, lead(first, 1, 2147483647) OVER (ORDER BY first) AS next
    FROM unnest(%(seqs)s::bigint[], %(firsts)s::integer[]) AS f (seq, first)
)
SELECT f.seq,
       count(*) FILTER (WHERE o.outcome = 'stored'),
       count(*) FILTER (WHERE o.outcome = 'repeated'),
       count(*) FILTER (WHERE o.outcome = 'replaced'),
       count(*) FILTER (WHERE o.outcome = 'superseded')
FROM merge_outcomes AS o
JOIN frames AS f ON o.ordinal >= f.first AND o.ordinal < f.next
GROUP BY f.seq
