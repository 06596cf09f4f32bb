-- What is known of the watched days in a range: where their readings are, which of their changes there have been, and,
-- of a dropped day, which cold store has how many rows of the tenant's: the configured one where both have them. Where
-- no copy is proven any more, the receipt of one that was, and what became of it: then something is missing.
SELECT d.day,
       d.settled_at IS NOT NULL,
       d.dropped_at,
       d.restored_at,
       coalesce(c.changes, 0),
       coalesce(c.newest, 0),
       r.store,
       r.rows,
       r.receipt_id,
       r.lost
FROM reading_days AS d
LEFT JOIN (
    SELECT day, count(*) AS changes, max(change_id) AS newest
    FROM reading_changes
    WHERE day BETWEEN %(first)s AND %(last)s
    GROUP BY day
) AS c USING (day)
LEFT JOIN LATERAL (
    SELECT m.store,
           m.rows,
           m.receipt_id,
           CASE WHEN m.state <> 'verified' THEN format('%%s is %%s: %%s', m.location, m.state, m.detail) END AS lost
    FROM archive_manifest AS m
    WHERE d.dropped_at IS NOT NULL AND m.tenant_id = %(tenant_id)s AND m.day = d.day AND m.verified_at IS NOT NULL
    ORDER BY m.state = 'verified' DESC,
             m.state <> 'verified' AND m.rows > 0 DESC,
             m.store = %(store)s DESC,
             m.receipt_id DESC
    LIMIT 1
) AS r ON true
WHERE d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day
