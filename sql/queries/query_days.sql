-- What is known of the watched days in a range: where their readings are, which of their changes there have been, and,
-- of a dropped day, which cold store has how many rows of the tenant's: the configured one where both have them.
SELECT d.day,
       d.settled_at IS NOT NULL,
       d.dropped_at,
       d.restored_at,
       coalesce(c.changes, 0),
       coalesce(c.newest, 0),
       r.store,
       r.rows
FROM reading_days AS d
LEFT JOIN (
    SELECT day, count(*) AS changes, max(change_id) AS newest
    FROM reading_changes
    WHERE day BETWEEN %(first)s AND %(last)s
    GROUP BY day
) AS c USING (day)
LEFT JOIN LATERAL (
    SELECT m.store, m.rows
    FROM archive_manifest AS m
    WHERE d.dropped_at IS NOT NULL AND m.tenant_id = %(tenant_id)s AND m.day = d.day AND m.state = 'verified'
    ORDER BY m.store = %(store)s DESC
    LIMIT 1
) AS r ON true
WHERE d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day
