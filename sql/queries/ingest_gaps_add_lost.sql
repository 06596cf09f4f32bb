-- What the spool lost is a gap: of the connection, where its frame's header names it, else of every connection that this
-- spool was fed from until then. A loss stated in several parts is one gap, from the last frame before to the next one.
WITH lately AS (
    SELECT seq, connection_id, received, received_at FROM ingest_ledger
    WHERE spool_id = %(spool_id)s AND seq < %(first_seq)s
    ORDER BY seq DESC LIMIT 1000
), concerned AS (
    SELECT %(connection_id)s::integer AS connection_id, %(since)s::timestamptz AS since
    WHERE %(connection_id)s::integer > 0
    UNION
    SELECT connection_id, (SELECT max(received_at) FROM lately WHERE received > 0)
    FROM lately
    WHERE connection_id > 0 AND %(connection_id)s::integer = 0
      AND EXISTS (SELECT FROM lately WHERE seq = %(first_seq)s - 1 AND received > 0)
)
INSERT INTO ingest_gaps (spool_id, seq, connection_id, started_at, ended_at, reason)
SELECT %(spool_id)s, %(first_seq)s, connection_id, least(since, %(until)s::timestamptz), %(until)s, 'spool_lost'
FROM concerned
