-- `readings_total` comes as what was added since the last heartbeat. Of a connection that another instance has claimed
-- nothing is said.
INSERT INTO ingest_connections AS c (connection_id, spool_id, state, since, last_reading_at, error, loss_window,
                                     readings_total, readings_per_s, updated_at)
SELECT f.connection_id, %(spool_id)s, f.state, f.since, f.last_reading_at, f.error, f.loss_window, f.added, f.per_s,
       %(now)s
FROM unnest(%(connection_id)s::integer[], %(state)s::text[], %(since)s::timestamptz[],
            %(last_reading_at)s::timestamptz[], %(error)s::text[], %(loss_window)s::text[], %(added)s::bigint[],
            %(per_s)s::double precision[])
     AS f (connection_id, state, since, last_reading_at, error, loss_window, added, per_s)
JOIN scada_connections USING (connection_id)
LEFT JOIN ingest_leases AS l USING (connection_id)
WHERE l.spool_id = %(spool_id)s OR l.connection_id IS NULL
ON CONFLICT (connection_id) DO UPDATE
SET spool_id = excluded.spool_id, state = excluded.state, since = excluded.since,
    last_reading_at = coalesce(excluded.last_reading_at, c.last_reading_at), error = excluded.error,
    loss_window = excluded.loss_window, readings_total = c.readings_total + excluded.readings_total,
    readings_per_s = excluded.readings_per_s, updated_at = excluded.updated_at
