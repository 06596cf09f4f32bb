-- Of these (connection, term in a frame), those that another instance has taken over: until when, by the owner's clock,
-- what was received is stored; -1: nothing is. Not MQTT: a broker hands each message to one session alone.
-- KEY SHARE lets renewals through, and holds a takeover until we commit.
WITH held AS MATERIALIZED (
    SELECT connection_id, spool_id, term FROM ingest_leases
    WHERE connection_id = ANY (%(connection_id)s::integer[])
    ORDER BY connection_id
    FOR KEY SHARE
)
SELECT f.connection_id, f.term, coalesce(t.valid_until_us, -1)
FROM unnest(%(connection_id)s::integer[], %(term)s::integer[]) AS f (connection_id, term)
JOIN held USING (connection_id)
JOIN scada_connections AS c USING (connection_id)
LEFT JOIN LATERAL (
    SELECT past.term, past.valid_until_us
    FROM ingest_lease_terms AS past
    WHERE past.connection_id = f.connection_id AND past.spool_id = %(spool_id)s
      AND (past.term - 1) %% 65535 + 1 = f.term
    ORDER BY past.term DESC LIMIT 1
) AS t ON true
WHERE c.protocol <> 'mqtt' AND (held.spool_id <> %(spool_id)s OR t.term < held.term)
