-- Refreshing the aggregates of TimescaleDB: the procedures have the names and arguments they have on plain PostgreSQL.

CREATE TABLE aggregate_levels (
    relation     text PRIMARY KEY,
    level        smallint NOT NULL UNIQUE,
    width        interval NOT NULL,
    finer        text NOT NULL,
    coarser      text,
    refreshed_at timestamptz
);
INSERT INTO aggregate_levels (relation, level, width, finer, coarser) VALUES
    ('readings_1min', 1, '1 minute', 'readings', 'readings_5min'),
    ('readings_5min', 2, '5 minutes', 'readings_1min', 'readings_1hour'),
    ('readings_1hour', 3, '1 hour', 'readings_5min', 'readings_1day'),
    ('readings_1day', 4, '1 day', 'readings_1hour', NULL);

CREATE FUNCTION aggregate_level(wanted text) RETURNS aggregate_levels
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    found aggregate_levels;
BEGIN
    SELECT * INTO found FROM aggregate_levels WHERE relation = wanted;
    IF found.relation IS NULL THEN
        RAISE EXCEPTION 'no aggregate %', wanted
            USING HINT = 'There are ' || (SELECT string_agg(relation, ', ' ORDER BY level) FROM aggregate_levels),
                  ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN found;
END $$;

-- Up to where the continuous aggregate is read from its table; minus infinity while nothing is in it.
CREATE FUNCTION aggregate_watermark(wanted text) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT CASE WHEN mark < '4700-01-01 BC' THEN '-infinity' ELSE mark END
    FROM _timescaledb_catalog.continuous_agg c,
         LATERAL (SELECT _timescaledb_functions.to_timestamp(
             _timescaledb_functions.cagg_watermark(c.mat_hypertable_id)) AS mark) m
    WHERE c.user_view_schema = 'public' AND c.user_view_name = wanted
$$;

-- Up to where buckets are complete: the bucket of the newest reading is not, nor any of the future, nor what the finer
-- aggregate has not yet materialised.
CREATE FUNCTION aggregate_complete_to(l aggregate_levels) RETURNS timestamptz
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    mark CONSTANT timestamptz := aggregate_watermark(l.relation);
    upto timestamptz;
BEGIN
    IF l.level = 1 THEN
        SELECT max(time) INTO upto FROM readings WHERE time >= mark;
        upto := least(upto, now());
    ELSE
        upto := aggregate_watermark(l.finer);
    END IF;
    RETURN greatest(mark, CASE WHEN isfinite(upto) THEN time_bucket(l.width, upto) END);
END $$;

-- The days that have a chunk, contiguous ones in one range: no bucket is recomputed of a day whose readings are gone.
CREATE FUNCTION readings_days() RETURNS tstzmultirange
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(range_agg(tstzrange(range_start, range_end)), '{}') FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'public' AND hypertable_name = 'readings'
$$;

-- Whether somebody refreshes an aggregate right now. Two at once are an error in the releases that have this table.
CREATE FUNCTION aggregate_in_refresh() RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    busy boolean := false;
BEGIN
    IF to_regclass('_timescaledb_catalog.continuous_aggs_jobs_refresh_ranges') IS NOT NULL THEN
        EXECUTE 'SELECT EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_jobs_refresh_ranges r '
                'JOIN _timescaledb_catalog.continuous_agg c ON c.mat_hypertable_id = r.materialization_id '
                'JOIN aggregate_levels l ON c.user_view_schema = ''public'' AND c.user_view_name = l.relation '
                'JOIN pg_stat_activity a USING (pid))' INTO busy;
    END IF;
    RETURN busy;
END $$;

-- Waits until nobody refreshes, and returns with a lock that the coming refresh lets go once it has announced itself.
CREATE PROCEDURE aggregate_take_turn()
LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        PERFORM pg_advisory_xact_lock(hashtext('aggregate_take_turn'));
        EXIT WHEN NOT public.aggregate_in_refresh();
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
END $$;

-- Up to where changes to readings are logged.
CREATE FUNCTION aggregate_threshold() RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(max(_timescaledb_functions.to_timestamp(t.watermark)), '-infinity')
    FROM _timescaledb_catalog.continuous_aggs_invalidation_threshold t
    JOIN _timescaledb_catalog.continuous_agg c ON c.raw_hypertable_id = t.hypertable_id
    WHERE c.user_view_schema = 'public' AND c.user_view_name = 'readings_1min'
$$;

-- Waits for the transactions that are writing readings; false when one takes its time.
CREATE FUNCTION aggregate_await_writers() RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
BEGIN
    LOCK TABLE ONLY readings IN SHARE MODE;
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RAISE WARNING 'a writer of readings has been at it for 2 s: the aggregates are not taken further this time';
    RETURN false;
END $$;

-- A refresh of TimescaleDB raises the threshold and then reads, and does not wait in between: what is being committed
-- just then is neither logged, being above the old threshold, nor seen (measured on 2.28.3: one batch in some
-- thousands, lost to the aggregates for good). So the threshold is raised first, a day ahead, by refreshing a minute in
-- which there is nothing yet; then the writers of that moment are waited for; then the refresh reads.
CREATE PROCEDURE refresh_aggregate(relation text, since timestamptz, until timestamptz)
LANGUAGE plpgsql AS $$
DECLARE
    l      public.aggregate_levels := public.aggregate_level(relation);
    start  timestamptz;
    stop   timestamptz;
    ahead  timestamptz;
    pieces tstzrange[];
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
        SELECT array_agg(r) INTO pieces FROM unnest(public.readings_days() * tstzmultirange(tstzrange(start, stop))) r;
    END IF;
    FOREACH piece IN ARRAY coalesce(pieces, '{}') LOOP
        -- in one piece: batches commit one by one, newest first, and until the last is done readers see holes
        CALL public.refresh_continuous_aggregate(format('public.%I', relation)::regclass, lower(piece), upper(piece),
            options => '{"buckets_per_batch": 0}');
        CALL public.aggregate_take_turn();
    END LOOP;
    UPDATE public.aggregate_levels a SET refreshed_at = clock_timestamp() WHERE a.relation = l.relation;
    COMMIT;
END $$;
COMMENT ON PROCEDURE refresh_aggregate IS
    'Makes the buckets of one aggregate right that touch [since, until); a null end is open. The finer one comes first. Not inside a transaction.';

CREATE PROCEDURE refresh_aggregates()
LANGUAGE plpgsql AS $$
BEGIN
    CALL public.refresh_aggregate('readings_1min', NULL, NULL);
    CALL public.refresh_aggregate('readings_5min', NULL, NULL);
    CALL public.refresh_aggregate('readings_1hour', NULL, NULL);
    CALL public.refresh_aggregate('readings_1day', NULL, NULL);
END $$;
COMMENT ON PROCEDURE refresh_aggregates IS 'Makes all four aggregates right, finest first. Not inside a transaction.';

CREATE VIEW aggregate_status AS
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
       ) END AS pending_invalidations
FROM aggregate_levels l
JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.relation
CROSS JOIN LATERAL (SELECT aggregate_watermark(l.relation) AS watermark) m
ORDER BY l.level;

-- The background job. A refresh policy looks at the machine's clock, goes back only so far, and knows no order.
CREATE PROCEDURE refresh_aggregates_job(job_id integer, config jsonb)
LANGUAGE plpgsql AS $$
BEGIN
    CALL public.refresh_aggregates();
END $$;

CREATE TABLE storage_policies (
    compress_after  interval NOT NULL,
    keep_aggregates interval NOT NULL,
    set_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE storage_policies IS 'The ages last asked for; one row.';

-- Background work, set anew only when an age changes. Returns what this engine cannot do by itself: nothing.
CREATE FUNCTION set_storage_policies(compress_after interval, keep_aggregates interval) RETURNS text[]
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    l aggregate_levels;
BEGIN
    IF EXISTS (SELECT FROM storage_policies p WHERE (p.compress_after, p.keep_aggregates)
               = (set_storage_policies.compress_after, set_storage_policies.keep_aggregates)) THEN
        RETURN '{}';
    END IF;
    DELETE FROM storage_policies;
    INSERT INTO storage_policies VALUES (compress_after, keep_aggregates);
    CALL remove_columnstore_policy('readings', if_exists => true);
    CALL add_columnstore_policy('readings', after => compress_after);
    FOR l IN SELECT * FROM aggregate_levels ORDER BY level LOOP
        PERFORM remove_retention_policy(l.relation::regclass, if_exists => true);
        PERFORM add_retention_policy(l.relation::regclass, drop_after => keep_aggregates);
    END LOOP;
    IF NOT EXISTS (SELECT FROM timescaledb_information.jobs WHERE proc_name = 'refresh_aggregates_job') THEN
        PERFORM add_job('refresh_aggregates_job', '1 minute', fixed_schedule => false);
    END IF;
    RETURN '{}';
END $$;
REVOKE ALL ON FUNCTION set_storage_policies FROM PUBLIC;
