-- What Dagster keeps of its own history.
SELECT (SELECT count(*) FROM runs)                             AS runs,
       (SELECT count(*) FROM job_ticks)                        AS ticks,
       (SELECT count(*) FROM event_logs)                       AS events,
       pg_total_relation_size('event_logs'::regclass)::bigint  AS event_bytes
