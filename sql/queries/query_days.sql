-- What is known of the watched days in a range: where their readings are, and which of their changes there have been.
SELECT d.day,
       d.settled_at IS NOT NULL,
       d.dropped_at,
       d.restored_at,
       c.changes,
       c.newest
FROM reading_days AS d
CROSS JOIN LATERAL (
    SELECT count(*) AS changes, coalesce(max(change_id), 0) AS newest
    FROM reading_changes
    WHERE day = d.day
) AS c
WHERE d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day
