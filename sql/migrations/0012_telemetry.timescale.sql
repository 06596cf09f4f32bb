-- Telemetry on TimescaleDB: two continuous aggregates over the readings and their tags.
--
-- Both are made from the readings, as a median cannot be rolled up.

ALTER TABLE aggregate_levels
    DROP COLUMN coarser,
    ADD COLUMN kind text NOT NULL DEFAULT 'tag' CHECK (kind IN ('tag', 'well')),
    ADD COLUMN stored_in text,
    ADD COLUMN refreshed_to timestamptz;
COMMENT ON COLUMN aggregate_levels.finer IS 'the relation that must be right first';
COMMENT ON COLUMN aggregate_levels.kind IS 'tag: a row a tag, made from the finer relation; well: a row a well, made from readings';
COMMENT ON COLUMN aggregate_levels.stored_in IS 'the continuous aggregate';
COMMENT ON COLUMN aggregate_levels.refreshed_to IS 'how far it was taken; its watermark stays behind where there are no readings';
UPDATE aggregate_levels SET stored_in = relation;
INSERT INTO aggregate_levels (relation, level, width, finer, kind, stored_in) VALUES
    ('telemetry_hourly', 5, '1 hour', 'readings_1min', 'well', 'telemetry_hourly_materialised'),
    ('telemetry_daily', 6, '1 day', 'telemetry_hourly', 'well', 'telemetry_daily_materialised');
ALTER TABLE aggregate_levels ALTER COLUMN stored_in SET NOT NULL;

-- What TimescaleDB cannot know to be stale: it logs changes of readings, not of tags.
CREATE TABLE aggregate_invalidations (
    invalidation_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    relation        text NOT NULL REFERENCES aggregate_levels,
    span            tstzrange NOT NULL
);

-- The SELECT that makes buckets of a well from the readings. With time_bucket, as a condition on its buckets is then one
-- on the time of readings too, for TimescaleDB.
CREATE FUNCTION telemetry_select(width interval, condition text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
SELECT format($raw$
    SELECT time_bucket(%1$L::interval, s.time) AS bucket, t.tenant_id, t.well_id,
           count(*) AS n,
           count(*) FILTER (WHERE s.quality = 2) AS n_good,
           count(*) FILTER (WHERE s.quality = 1) AS n_uncertain,
           count(*) FILTER (WHERE s.quality = 0) AS n_bad, %3$s
    FROM readings s JOIN tags t ON t.tag_id = s.tag_id
    WHERE t.telemetry_metric IS NOT NULL AND %2$s
    GROUP BY 1, 2, 3
    $raw$, width, condition, telemetry_each($each$
           count(*) FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_n,
           sum(s.value) FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_sum,
           sum(CASE WHEN abs(s.value) > '1e-150' THEN s.value * s.value ELSE 0 END)
               FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_sum_sq,
           min(s.value) FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_min,
           max(s.value) FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_max,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY s.value)
               FILTER (WHERE s.quality = 2 AND t.telemetry_metric = '{m}') AS {m}_median$each$))
$$;

-- Neither is real-time by itself: the day in progress is rolled up from its hours, and what is after the last of them.
DO $do$
DECLARE
    l      aggregate_levels;
    hourly text;
    daily  text;
    mark   CONSTANT text := $mark$
        coalesce(_timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(%s)), '-infinity')$mark$;
BEGIN
    FOR l IN SELECT * FROM aggregate_levels WHERE kind = 'well' ORDER BY level LOOP
        EXECUTE format('CREATE MATERIALIZED VIEW %I WITH (timescaledb.continuous, timescaledb.materialized_only = true, '
            'timescaledb.create_group_indexes = false) AS %s WITH NO DATA', l.stored_in, telemetry_select(l.width, 'true'));
        EXECUTE format('CREATE INDEX ON %I (well_id, bucket DESC)', l.stored_in);
    END LOOP;
    -- the number in the text, as in the views TimescaleDB makes: the planner then leaves chunks out
    SELECT format(mark, mat_hypertable_id) INTO hourly FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = 'public' AND user_view_name = 'telemetry_hourly_materialised';
    SELECT format(mark, mat_hypertable_id) INTO daily FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = 'public' AND user_view_name = 'telemetry_daily_materialised';

    EXECUTE 'CREATE VIEW telemetry_hourly_sums AS SELECT * FROM telemetry_hourly_materialised UNION ALL '
        || telemetry_select('1 hour', 's.time >= ' || hourly);
    EXECUTE 'CREATE VIEW telemetry_daily_sums AS SELECT * FROM telemetry_daily_materialised UNION ALL '
        || telemetry_rolled_up(format($parts$(
            SELECT time_bucket('1 day'::interval, h.bucket) AS bucket, h.tenant_id, h.well_id, h.n, h.n_good, h.n_uncertain,
                   h.n_bad, %s
            FROM telemetry_hourly_materialised h WHERE h.bucket >= %s
            UNION ALL %s)$parts$,
            telemetry_each('h.{m}_n, h.{m}_sum, h.{m}_sum_sq, h.{m}_min, h.{m}_max, h.{m}_median'), daily,
            telemetry_select('1 day', format('s.time >= %s AND s.time >= %s', hourly, daily))), 's.bucket', 'true');
    PERFORM pg_temp.make_telemetry_views();
END $do$;

-- Up to where the continuous aggregate is read from its table; minus infinity while nothing is in it.
CREATE OR REPLACE FUNCTION aggregate_watermark(wanted text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN mark < '4700-01-01 BC' THEN '-infinity' ELSE mark END
    FROM aggregate_levels l
    JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.stored_in,
         LATERAL (SELECT _timescaledb_functions.to_timestamp(
             _timescaledb_functions.cagg_watermark(c.mat_hypertable_id)) AS mark) m
    WHERE l.relation = wanted
$$;

-- Up to where buckets are complete. What is made from the readings need not wait for the finer aggregate to hold
-- something: it is enough that changes up to there are logged, which a refresh of the finest sees to.
CREATE OR REPLACE FUNCTION aggregate_complete_to(l aggregate_levels) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    mark CONSTANT timestamptz := aggregate_watermark(l.relation);
    upto timestamptz := aggregate_watermark(l.finer);
BEGIN
    IF l.level = 1 THEN
        SELECT max(time) INTO upto FROM readings WHERE time >= mark;
        upto := CASE WHEN upto IS NOT NULL THEN least(upto, now()) END;
    ELSIF l.kind = 'well' THEN
        SELECT greatest(upto, f.refreshed_to) INTO upto FROM aggregate_levels f WHERE f.relation = l.finer;
    END IF;
    RETURN greatest(mark, CASE WHEN isfinite(upto) THEN time_bucket(l.width, upto) END);
END $$;

-- Whether somebody refreshes an aggregate right now. Two at once are an error in the releases that have this table.
CREATE OR REPLACE FUNCTION aggregate_in_refresh() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    busy boolean := false;
BEGIN
    IF to_regclass('_timescaledb_catalog.continuous_aggs_jobs_refresh_ranges') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_jobs_refresh_ranges r '
                'JOIN _timescaledb_catalog.continuous_agg c ON c.mat_hypertable_id = r.materialization_id '
                'JOIN aggregate_levels l ON c.user_view_schema = ''public'' AND c.user_view_name = l.stored_in '
                'JOIN pg_stat_activity a USING (pid))' INTO busy;
    END IF;
    RETURN busy;
END $$;

-- As before, and ranges of our own log are recomputed whatever TimescaleDB's says. They leave the log after that: what
-- is added to it meanwhile stays.
CREATE OR REPLACE PROCEDURE refresh_aggregate(relation text, since timestamptz, until timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    l      public.aggregate_levels := public.aggregate_level(relation);
    start  timestamptz;
    stop   timestamptz;
    ahead  timestamptz;
    logged bigint[];
    forced tstzmultirange;
    pieces tstzmultirange := '{}';
    piece  tstzrange;
BEGIN
    IF since > until THEN
        RAISE EXCEPTION 'the window ends before it begins' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    CALL public.aggregate_take_turn();
    start := public.aggregate_watermark(relation);
    stop := public.aggregate_complete_to(l);
    IF isfinite(until) THEN
        stop := least(stop, public.time_bucket(l.width, until + l.width - '1 microsecond'::interval));
    END IF;
    IF l.level = 1 AND stop > start AND stop > public.aggregate_threshold() THEN
        ahead := public.aggregate_complete_to(l);
        LOOP
            ahead := ahead + '1 day'::interval;
            EXIT WHEN NOT EXISTS (SELECT FROM public.readings WHERE time >= ahead AND time < ahead + l.width);
        END LOOP;
        CALL public.refresh_continuous_aggregate('public.readings_1min', ahead, ahead + l.width,
            options => '{"buckets_per_batch": 0}');
        IF NOT public.aggregate_await_writers() THEN
            stop := start;
        END IF;
        COMMIT;
        CALL public.aggregate_take_turn();
    END IF;
    -- what is new always begins at the watermark, so that no hole is left below it
    start := least(start, CASE WHEN isfinite(since) THEN public.time_bucket(l.width, since) ELSE '-infinity' END);
    IF start < stop THEN
        SELECT array_agg(invalidation_id), range_agg(span) * tstzmultirange(tstzrange(start, stop)) INTO logged, forced
        FROM public.aggregate_invalidations i WHERE i.relation = l.relation AND i.span && tstzrange(start, stop);
        pieces := public.readings_days() * tstzmultirange(tstzrange(start, stop));
    END IF;

    -- Whoever drops a day has the turn: which days are left is looked at in every turn anew, or a day just dropped would
    -- be recomputed from nothing.
    LOOP
        piece := (SELECT r FROM unnest(pieces * forced * public.readings_days()) r ORDER BY r LIMIT 1);
        EXIT WHEN piece IS NULL;
        CALL public.refresh_continuous_aggregate(format('public.%I', l.stored_in)::regclass, lower(piece), upper(piece),
            force => true, options => '{"buckets_per_batch": 0}');
        forced := forced - tstzmultirange(tstzrange('-infinity', upper(piece)));
        CALL public.aggregate_take_turn();
    END LOOP;
    LOOP
        piece := (SELECT r FROM unnest(pieces * public.readings_days()) r ORDER BY r LIMIT 1);
        EXIT WHEN piece IS NULL;
        -- in one piece: batches commit one by one, newest first, and until the last is done readers see holes
        CALL public.refresh_continuous_aggregate(format('public.%I', l.stored_in)::regclass, lower(piece), upper(piece),
            options => '{"buckets_per_batch": 0}');
        pieces := pieces - tstzmultirange(tstzrange('-infinity', upper(piece)));
        CALL public.aggregate_take_turn();
    END LOOP;

    IF logged IS NOT NULL THEN
        WITH taken AS (
            DELETE FROM public.aggregate_invalidations i WHERE i.invalidation_id = ANY (logged) RETURNING i.span
        )
        INSERT INTO public.aggregate_invalidations (relation, span)
        -- above the watermark nothing is stored that could be stale
        SELECT l.relation, unnest(range_agg(span) - tstzmultirange(tstzrange(start, stop)))
        FROM taken WHERE span && tstzrange('-infinity', start) OR isfinite(until);
    END IF;
    UPDATE public.aggregate_levels a
    SET refreshed_at = clock_timestamp(),
        refreshed_to = greatest(a.refreshed_to, CASE WHEN isfinite(stop) THEN stop END)
    WHERE a.relation = l.relation;
    COMMIT;
END $$;

CREATE OR REPLACE VIEW aggregate_status AS
SELECT l.relation,
       nullif(m.watermark, '-infinity') AS watermark,
       nullif(m.watermark, '-infinity') AS materialised_to,
       l.refreshed_at,
       CASE WHEN m.watermark = '-infinity' THEN 0 ELSE (
           SELECT count(*) FROM (
               SELECT lowest_modified_value AS lowest, greatest_modified_value AS greatest
               FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log
               WHERE materialization_id = c.mat_hypertable_id
               UNION ALL
               SELECT lowest_modified_value, greatest_modified_value
               FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log
               WHERE hypertable_id = c.raw_hypertable_id
           ) logged
           WHERE logged.lowest < _timescaledb_functions.cagg_watermark(c.mat_hypertable_id)
             -- the time before the first chunk and between chunks stays in the log: there is nothing to refresh
             AND EXISTS (SELECT FROM unnest(readings_days()) d
                         WHERE logged.lowest < extract(epoch FROM upper(d)) * 1000000
                           AND logged.greatest >= extract(epoch FROM lower(d)) * 1000000)
       ) + (
           SELECT count(*) FROM aggregate_invalidations i
           WHERE i.relation = l.relation AND i.span && tstzrange('-infinity', m.watermark)
             AND EXISTS (SELECT FROM unnest(readings_days()) d WHERE d && i.span)
       ) END AS pending_invalidations
FROM aggregate_levels l
JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.stored_in
CROSS JOIN LATERAL (SELECT aggregate_watermark(l.relation) AS watermark) m
ORDER BY l.level;

CREATE FUNCTION aggregate_table(relation text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT format('%I.%I', c.materialization_hypertable_schema, c.materialization_hypertable_name)::regclass
    FROM aggregate_level(relation) l
    JOIN timescaledb_information.continuous_aggregates c ON c.view_schema = 'public' AND c.view_name = l.stored_in
$$;

-- Whole chunks: what is a little older stays until its chunk is.
CREATE FUNCTION drop_old_aggregates(keep interval, moment timestamptz DEFAULT now())
RETURNS TABLE (relation text, before timestamptz, buckets bigint)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    l      aggregate_levels;
    chunk  text;
    counts bigint;
BEGIN
    before := date_trunc('day', moment - keep, 'UTC');
    FOR l IN SELECT * FROM aggregate_levels ORDER BY level LOOP
        relation := l.relation;
        buckets := 0;
        FOR chunk IN SELECT show_chunks(l.stored_in::regclass, older_than => before)::text LOOP
            EXECUTE format('SELECT count(*) FROM %s', chunk) INTO counts;
            buckets := buckets + counts;
        END LOOP;
        PERFORM drop_chunks(l.stored_in::regclass, older_than => before);
        RETURN NEXT;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION drop_old_aggregates FROM PUBLIC;
COMMENT ON FUNCTION drop_old_aggregates IS 'Drops the chunks of the aggregates that are wholly older than `keep`; a row an aggregate.';

-- The background job asks at the pace of the aggregate that is refreshed most often.
CREATE OR REPLACE PROCEDURE refresh_aggregates_job(job_id integer, config jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    CALL public.refresh_due_aggregates();
END $$;

-- Background work, set anew only when a setting changes. Returns what this engine cannot do by itself: nothing.
CREATE FUNCTION set_storage_policies(compress_after interval, keep_aggregates interval, refresh_every jsonb)
RETURNS text[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    l    aggregate_levels;
    job  integer := (SELECT j.job_id FROM timescaledb_information.jobs j WHERE j.proc_name = 'refresh_aggregates_job');
    pace interval;
BEGIN
    IF EXISTS (SELECT FROM storage_policies p WHERE (p.compress_after, p.keep_aggregates, p.refresh_every) =
               (set_storage_policies.compress_after, set_storage_policies.keep_aggregates,
                set_storage_policies.refresh_every)) THEN
        RETURN '{}';
    END IF;
    DELETE FROM storage_policies;
    INSERT INTO storage_policies VALUES (compress_after, keep_aggregates, DEFAULT, refresh_every);
    CALL remove_columnstore_policy('readings', if_exists => true);
    CALL add_columnstore_policy('readings', after => compress_after);
    FOR l IN SELECT * FROM aggregate_levels ORDER BY level LOOP
        PERFORM remove_retention_policy(l.stored_in::regclass, if_exists => true);
        PERFORM add_retention_policy(l.stored_in::regclass, drop_after => keep_aggregates);
    END LOOP;
    UPDATE aggregate_levels a SET refresh_every = make_interval(secs => e.value::double precision)
    FROM jsonb_each_text(set_storage_policies.refresh_every) e WHERE e.key = a.relation;
    SELECT coalesce(min(a.refresh_every), '1 minute') INTO pace FROM aggregate_levels a;
    IF job IS NULL THEN
        PERFORM add_job('refresh_aggregates_job', pace, fixed_schedule => false);
    ELSE
        PERFORM alter_job(job, schedule_interval => pace);
    END IF;
    RETURN '{}';
END $$;
REVOKE ALL ON FUNCTION set_storage_policies FROM PUBLIC;

CREATE VIEW storage_jobs AS
SELECT j.job_id, j.proc_name::text AS job, coalesce(l.relation, j.hypertable_name::text) AS relation, j.scheduled,
       coalesce(s.job_status, 'Scheduled') || coalesce(', last run: ' || s.last_run_status, '') AS status,
       CASE WHEN isfinite(s.last_successful_finish) THEN s.last_successful_finish END AS last_success,
       CASE WHEN isfinite(j.next_start) THEN j.next_start END AS next_start,
       coalesce(s.total_runs, 0) AS runs, coalesce(s.total_failures, 0) AS failures,
       coalesce(b.consecutive_failures, 0) AS consecutive_failures,
       e.err_message AS last_error, e.finish_time AS last_error_at
FROM timescaledb_information.jobs j
LEFT JOIN aggregate_levels l ON j.hypertable_schema = 'public' AND l.stored_in = j.hypertable_name
LEFT JOIN timescaledb_information.job_stats s USING (job_id)
LEFT JOIN _timescaledb_internal.bgw_job_stat b USING (job_id)
LEFT JOIN LATERAL (
    SELECT err_message, finish_time FROM timescaledb_information.job_errors e
    WHERE e.job_id = j.job_id ORDER BY e.finish_time DESC LIMIT 1
) e ON true
WHERE j.proc_name = 'refresh_aggregates_job' OR l.relation IS NOT NULL
   OR (j.hypertable_schema, j.hypertable_name) = ('public', 'readings')
ORDER BY j.job_id;
COMMENT ON VIEW storage_jobs IS 'Background jobs on readings and aggregates: how they are and what their last error was.';

CREATE VIEW storage_policies_in_force AS
SELECT 'refresh' AS policy, a.relation, a.refresh_every AS setting, 'job ' || j.job_id AS by
FROM aggregate_levels a, timescaledb_information.jobs j WHERE j.proc_name = 'refresh_aggregates_job'
UNION ALL
SELECT 'drop', s.relation, (j.config ->> 'drop_after')::interval, 'job ' || j.job_id
FROM storage_jobs s JOIN timescaledb_information.jobs j USING (job_id) WHERE j.proc_name = 'policy_retention'
UNION ALL
SELECT 'compress', j.hypertable_name, (j.config ->> 'compress_after')::interval, 'job ' || j.job_id
FROM timescaledb_information.jobs j WHERE j.proc_name = 'policy_compression' AND j.hypertable_name = 'readings'
ORDER BY 1 DESC, 2;
COMMENT ON VIEW storage_policies_in_force IS 'What is done to which relation, how often or from which age on, and by what.';
