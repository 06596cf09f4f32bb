-- An episode comes again when it grows or ends: the last word on it stands.
INSERT INTO quality_events AS q (tenant_id, well_id, connection_id, tag_id, check_name, severity, started_at, ended_at,
                                 evidence, spool_id, seq)
SELECT DISTINCT ON (e.connection_id, e.tag_id, e.check_name, e.started_at)
       c.tenant_id, t.well_id, e.connection_id, e.tag_id, e.check_name, e.severity, e.started_at, e.ended_at,
       e.evidence, %(spool_id)s, e.seq
FROM unnest(%(seq)s::bigint[], %(connection_id)s::integer[], %(tag_id)s::integer[], %(check_name)s::text[],
            %(severity)s::text[], %(started_at)s::timestamptz[], %(ended_at)s::timestamptz[], %(evidence)s::jsonb[])
     WITH ORDINALITY AS e (seq, connection_id, tag_id, check_name, severity, started_at, ended_at, evidence, ordinal)
JOIN scada_connections AS c ON c.connection_id = e.connection_id
LEFT JOIN tags AS t ON t.tag_id = e.tag_id
ORDER BY e.connection_id, e.tag_id, e.check_name, e.started_at, e.ordinal DESC
ON CONFLICT (connection_id, tag_id, check_name, started_at, well_id, tenant_id) DO UPDATE
SET severity = excluded.severity, ended_at = excluded.ended_at, evidence = excluded.evidence,
    spool_id = excluded.spool_id, seq = excluded.seq, updated_at = clock_timestamp()
