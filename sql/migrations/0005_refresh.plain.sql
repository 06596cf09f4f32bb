-- Refreshing the aggregates of plain PostgreSQL: the procedures have the names and arguments they have on TimescaleDB.

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

-- Up to where buckets are complete: the bucket of the newest reading is not, nor any of the future.
CREATE FUNCTION aggregate_complete_to(l aggregate_levels) RETURNS timestamptz
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT CASE l.level
        WHEN 1 THEN (SELECT greatest(l.threshold, date_bin(l.width, least(max(time), now()), '2000-01-01 00:00+00'))
                     FROM readings WHERE time >= l.threshold)
        ELSE (SELECT greatest(l.watermark, date_bin(l.width, finer.watermark, '2000-01-01 00:00+00'))
              FROM aggregate_levels finer WHERE finer.relation = l.finer)
        END
$$;

-- First step: from here on, changes up to `until` are logged. Waits for the writers that do not know yet, and as new
-- writers wait meanwhile, not for long: behind a writer that takes its time the watermark stays where it is for now.
CREATE FUNCTION aggregate_raise_threshold(relation text, until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
    l  aggregate_levels := aggregate_level(relation);
    up timestamptz := date_bin(l.width, until + l.width - '1 microsecond'::interval, '2000-01-01 00:00+00');
BEGIN
    IF l.level <> 1 THEN
        RETURN;
    END IF;
    up := least(up, aggregate_complete_to(l));  -- read before the lock
    IF up > l.threshold THEN
        PERFORM pg_advisory_xact_lock(hashtext('aggregate_levels.threshold'));
        UPDATE aggregate_levels SET threshold = greatest(threshold, up) WHERE level = 1;
    END IF;
EXCEPTION WHEN lock_not_available THEN
    RAISE WARNING 'a writer of readings has been at it for 2 s: % is not taken further this time', relation;
END $$;
REVOKE ALL ON FUNCTION aggregate_raise_threshold FROM PUBLIC;

-- Second step: recompute what was logged inside the window, make what is new up to its end, tell the coarser relation.
-- What is new always begins at the watermark, whatever `since` says, so that no hole is left below it.
CREATE FUNCTION aggregate_materialise(relation text, since timestamptz, until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET work_mem = '64MB' AS $$
DECLARE
    l       aggregate_levels;
    coarse  aggregate_levels;
    origin  CONSTANT timestamptz := '2000-01-01 00:00+00';
    step    CONSTANT interval := '1 microsecond';
    win     tstzrange;
    logged  tstzmultirange;
    stale   tstzmultirange;
    target  timestamptz;
    piece   tstzrange;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('aggregate_materialise'));
    l := aggregate_level(relation);
    win := tstzrange(date_bin(l.width, since, origin), date_bin(l.width, until + l.width - step, origin));
    target := greatest(l.watermark, least(upper(win), CASE l.level WHEN 1 THEN l.threshold ELSE aggregate_complete_to(l) END));

    WITH taken AS (
        DELETE FROM aggregate_invalidations i WHERE i.relation = l.relation AND i.span && win RETURNING i.span
    ) SELECT coalesce(range_agg(span), '{}') INTO logged FROM taken;
    INSERT INTO aggregate_invalidations SELECT l.relation, unnest(logged - tstzmultirange(win));
    stale := logged * tstzmultirange(win) * tstzmultirange(tstzrange('-infinity', l.watermark));
    IF target > l.watermark THEN
        stale := stale + tstzmultirange(tstzrange(l.watermark, target));
    END IF;

    FOR piece IN
        SELECT d.day * s.span FROM unnest(stale) s(span) JOIN readings_days() d(day) ON d.day && s.span ORDER BY 1
    LOOP
        EXECUTE format('DELETE FROM %I WHERE bucket >= $1 AND bucket < $2', l.relation || '_materialised')
            USING lower(piece), upper(piece);
        EXECUTE format('INSERT INTO %I %s ORDER BY 1, 2', l.relation || '_materialised', CASE l.level
            WHEN 1 THEN aggregate_select(l.width, 'readings', 's.time >= $1 AND s.time < $2')
            ELSE aggregate_select(l.width, l.finer || '_materialised', 's.bucket >= $1 AND s.bucket < $2') END)
            USING lower(piece), upper(piece);
    END LOOP;

    IF l.coarser IS NOT NULL THEN
        coarse := aggregate_level(l.coarser);
        INSERT INTO aggregate_invalidations
        SELECT coarse.relation, unnest(range_agg(wide.span) * tstzmultirange(tstzrange('-infinity', coarse.watermark)))
        FROM unnest(stale) s(span), LATERAL (
            SELECT tstzrange(date_bin(coarse.width, lower(s.span), origin),
                             date_bin(coarse.width, upper(s.span) + coarse.width - step, origin)) AS span
        ) wide;
    END IF;
    UPDATE aggregate_levels a
    SET watermark = target, refreshed_at = clock_timestamp() WHERE a.relation = l.relation;
END $$;
REVOKE ALL ON FUNCTION aggregate_materialise FROM PUBLIC;

-- The days that have a partition or rows in the default one: no bucket is recomputed of a day whose readings are gone.
CREATE FUNCTION readings_days() RETURNS SETOF tstzrange
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT tstzrange(start AT TIME ZONE 'UTC', (start + '1 day'::interval) AT TIME ZONE 'UTC')
    FROM (
        SELECT to_date(substr(c.relname, 10), 'YYYYMMDD')::timestamp AS start
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'readings'::regclass AND c.relname ~ '^readings_[0-9]{8}$'
        UNION
        SELECT date_trunc('day', time AT TIME ZONE 'UTC') FROM readings_default
    ) days
$$;

CREATE PROCEDURE refresh_aggregate(relation text, since timestamptz, until timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    IF since > until THEN
        RAISE EXCEPTION 'the window ends before it begins' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM public.aggregate_raise_threshold(relation, coalesce(until, 'infinity'));
    COMMIT;
    IF relation = 'readings_1min' THEN
        PERFORM public.ensure_readings_partitions();
        COMMIT;
    END IF;
    PERFORM public.aggregate_materialise(relation, coalesce(since, '-infinity'), coalesce(until, 'infinity'));
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
       nullif(l.watermark, '-infinity') AS watermark,
       nullif(l.watermark, '-infinity') AS materialised_to,
       l.refreshed_at,
       (SELECT count(*) FROM aggregate_invalidations i
        WHERE i.relation = l.relation AND i.span && tstzrange('-infinity', l.watermark)) AS pending_invalidations
FROM aggregate_levels l
ORDER BY l.level;

CREATE TABLE storage_policies (
    compress_after  interval NOT NULL,
    keep_aggregates interval NOT NULL,
    set_at          timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE storage_policies IS 'The ages last asked for; one row.';

-- Background work by age. Returns what this engine cannot do by itself: plain PostgreSQL has no background workers.
CREATE FUNCTION set_storage_policies(compress_after interval, keep_aggregates interval) RETURNS text[]
LANGUAGE sql SET search_path = public, pg_temp AS $$
    DELETE FROM storage_policies;
    INSERT INTO storage_policies VALUES (compress_after, keep_aggregates);
    SELECT ARRAY[
        format('readings are not compressed after %s: there is no columnstore', compress_after),
        'the aggregates refresh only when asked: CALL refresh_aggregates()',
        format('aggregates older than %s are not dropped: there are no background workers', keep_aggregates)
    ]
$$;
REVOKE ALL ON FUNCTION set_storage_policies FROM PUBLIC;
