-- What is known of the watched days in a range: where their readings are, which of their changes there have been, and,
-- of a dropped day, which cold store has how many rows of the tenant's: the configured one where both have them.
SELECT d.day,
       d.settled_at IS NOT NULL,
       d.dropped_at,
       d.restored_at,
       c.changes,
       c.newest,
       r.store,
       r.rows
FROM reading_days AS d
CROSS JOIN LATERAL (
    SELECT count(*) AS changes, coalesce(max(change_id), 0) AS newest
    FROM reading_changes
    WHERE day = d.day
) AS c
LEFT JOIN LATERAL (
    SELECT m.store, m.rows
    FROM archive_manifest AS m
    WHERE m.tenant_id = %(tenant_id)s AND m.day = d.day AND m.state = 'verified'
    ORDER BY m.store = %(store)s DESC
    LIMIT 1
) AS r ON d.dropped_at IS NOT NULL
WHERE d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day
