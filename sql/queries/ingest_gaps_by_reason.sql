-- What was never received since a moment, by connection and reason.
SELECT connections.name AS connection, gaps.reason, count(*) AS gaps,
       count(*) FILTER (WHERE gaps.closed_at IS NULL)                       AS open,
       extract(epoch FROM sum(gaps.ended_at - gaps.started_at))::float8     AS seconds
FROM ingest_gaps AS gaps
JOIN scada_connections AS connections USING (connection_id)
WHERE gaps.ended_at >= %(since)s OR gaps.closed_at IS NULL
GROUP BY connections.name, gaps.reason
ORDER BY gaps DESC, connections.name, gaps.reason
