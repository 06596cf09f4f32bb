-- Telemetry on plain PostgreSQL: two more relations with a table, a watermark and an invalidation log.
--
-- Their rows come from the readings, as a median cannot be rolled up. What they are told is stale, and how far they may
-- be taken, comes from `readings_1min`, so that a writer logs a change once.

ALTER TABLE aggregate_levels
    DROP COLUMN coarser,
    ADD COLUMN kind text NOT NULL DEFAULT 'tag' CHECK (kind IN ('tag', 'well'));
COMMENT ON COLUMN aggregate_levels.finer IS 'the relation that must be right first';
COMMENT ON COLUMN aggregate_levels.kind IS 'tag: a row a tag, made from the finer relation; well: a row a well, made from readings';
INSERT INTO aggregate_levels (relation, level, width, finer, kind) VALUES
    ('telemetry_hourly', 5, '1 hour', 'readings_1min', 'well'),
    ('telemetry_daily', 6, '1 day', 'telemetry_hourly', 'well');

-- The SELECT that makes buckets of a well from the readings. First by metric, so that a reading is looked at once.
CREATE FUNCTION telemetry_select(width interval, condition text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
SELECT format($raw$
    SELECT m.bucket, m.tenant_id, m.well_id, sum(m.n)::bigint AS n, sum(m.n_good)::bigint AS n_good,
           sum(m.n_uncertain)::bigint AS n_uncertain, sum(m.n_bad)::bigint AS n_bad, %3$s
    FROM (
        SELECT date_bin(%1$L, s.time, '2000-01-01 00:00+00') AS bucket, t.tenant_id, t.well_id, t.telemetry_metric AS metric,
               count(*) AS n,
               count(*) FILTER (WHERE s.quality = 2) AS n_good,
               count(*) FILTER (WHERE s.quality = 1) AS n_uncertain,
               count(*) FILTER (WHERE s.quality = 0) AS n_bad,
               sum(s.value) FILTER (WHERE s.quality = 2) AS sum,
               sum(CASE WHEN abs(s.value) > '1e-150' THEN s.value * s.value ELSE 0 END) FILTER (WHERE s.quality = 2) AS sum_sq,
               min(s.value) FILTER (WHERE s.quality = 2) AS min,
               max(s.value) FILTER (WHERE s.quality = 2) AS max,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY s.value) FILTER (WHERE s.quality = 2) AS median
        FROM readings s JOIN tags t USING (tag_id)
        WHERE t.telemetry_metric IS NOT NULL AND %2$s
        GROUP BY 1, 2, 3, 4
    ) m
    GROUP BY 1, 2, 3
    $raw$, width, condition, telemetry_each($each$
           coalesce(max(m.n_good) FILTER (WHERE m.metric = '{m}'), 0) AS {m}_n,
           max(m.sum) FILTER (WHERE m.metric = '{m}') AS {m}_sum,
           max(m.sum_sq) FILTER (WHERE m.metric = '{m}') AS {m}_sum_sq,
           max(m.min) FILTER (WHERE m.metric = '{m}') AS {m}_min,
           max(m.max) FILTER (WHERE m.metric = '{m}') AS {m}_max,
           max(m.median) FILTER (WHERE m.metric = '{m}') AS {m}_median$each$))
$$;

DO $$
DECLARE
    l    aggregate_levels;
    mark text;
BEGIN
    FOR l IN SELECT * FROM aggregate_levels WHERE kind = 'well' ORDER BY level LOOP
        EXECUTE format('CREATE TABLE %I (bucket timestamptz NOT NULL, tenant_id uuid NOT NULL, well_id integer NOT NULL, '
            'n bigint NOT NULL, n_good bigint NOT NULL, n_uncertain bigint NOT NULL, n_bad bigint NOT NULL, %s)',
            l.relation || '_materialised',
            telemetry_each('{m}_n bigint NOT NULL, {m}_sum double precision, {m}_sum_sq double precision, '
                '{m}_min double precision, {m}_max double precision, {m}_median double precision'));
        EXECUTE format('CREATE UNIQUE INDEX ON %I (well_id, bucket DESC, tenant_id)', l.relation || '_materialised');
        EXECUTE format('CREATE INDEX ON %I (bucket)', l.relation || '_materialised');
        mark := format('(SELECT watermark FROM aggregate_levels WHERE relation = %L)', l.relation);
        EXECUTE format('CREATE VIEW %I AS SELECT m.* FROM %I m WHERE m.bucket < %s UNION ALL %s',
            l.relation || '_sums', l.relation || '_materialised', mark,
            CASE l.relation WHEN 'telemetry_hourly' THEN telemetry_select(l.width, format('s.time >= %s', mark))
            -- sums of a day in progress are those of its hours
            ELSE telemetry_rolled_up('telemetry_hourly_sums',
                format('date_bin(%L, s.bucket, %L)', l.width, '2000-01-01 00:00+00'), format('s.bucket >= %s', mark)) END);
    END LOOP;
    PERFORM pg_temp.make_telemetry_views();
END $$;

-- As before, and more than one relation may follow another.
CREATE OR REPLACE FUNCTION aggregate_materialise(relation text, since timestamptz, until timestamptz) RETURNS void
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
        EXECUTE format('INSERT INTO %I %s ORDER BY 1, 2', l.relation || '_materialised', CASE
            WHEN l.kind = 'well' THEN telemetry_select(l.width, 's.time >= $1 AND s.time < $2')
            WHEN l.level = 1 THEN aggregate_select(l.width, 'readings', 's.time >= $1 AND s.time < $2')
            ELSE aggregate_select(l.width, l.finer || '_materialised', 's.bucket >= $1 AND s.bucket < $2') END)
            USING lower(piece), upper(piece);
    END LOOP;

    FOR coarse IN SELECT * FROM aggregate_levels a WHERE a.finer = l.relation LOOP
        INSERT INTO aggregate_invalidations
        SELECT coarse.relation, unnest(range_agg(wide.span) * tstzmultirange(tstzrange('-infinity', coarse.watermark)))
        FROM unnest(stale) s(span), LATERAL (
            SELECT tstzrange(date_bin(coarse.width, lower(s.span), origin),
                             date_bin(coarse.width, upper(s.span) + coarse.width - step, origin)) AS span
        ) wide;
    END LOOP;
    UPDATE aggregate_levels a
    SET watermark = target, refreshed_at = clock_timestamp() WHERE a.relation = l.relation;
END $$;

CREATE FUNCTION aggregate_table(relation text) RETURNS regclass
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT ((aggregate_level(relation)).relation || '_materialised')::regclass
$$;

CREATE FUNCTION drop_old_aggregates(keep interval, moment timestamptz DEFAULT now())
RETURNS TABLE (relation text, before timestamptz, buckets bigint)
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    l aggregate_levels;
BEGIN
    before := date_trunc('day', moment - keep, 'UTC');
    FOR l IN SELECT * FROM aggregate_levels ORDER BY level LOOP
        EXECUTE format('DELETE FROM %s WHERE bucket < $1', aggregate_table(l.relation)) USING before;
        GET DIAGNOSTICS buckets = ROW_COUNT;
        relation := l.relation;
        RETURN NEXT;
    END LOOP;
END $$;
REVOKE ALL ON FUNCTION drop_old_aggregates FROM PUBLIC;
COMMENT ON FUNCTION drop_old_aggregates IS 'Deletes the buckets of the days that are older than `keep`; a row an aggregate.';

-- Background work by age. Returns what this engine cannot do by itself: plain PostgreSQL has no background workers.
CREATE FUNCTION set_storage_policies(compress_after interval, keep_aggregates interval, refresh_every jsonb)
RETURNS text[]
LANGUAGE sql SET search_path = public, pg_temp AS $$
    DELETE FROM storage_policies;
    INSERT INTO storage_policies VALUES (compress_after, keep_aggregates, DEFAULT, refresh_every);
    UPDATE aggregate_levels a SET refresh_every = make_interval(secs => e.value::double precision)
    FROM jsonb_each_text(set_storage_policies.refresh_every) e WHERE e.key = a.relation;
    SELECT ARRAY[
        format('readings are not compressed after %s: there is no columnstore', compress_after),
        'the aggregates refresh only when asked: Dagster calls refresh_due_aggregates() every 5 minutes',
        format('aggregates older than %s are dropped only when asked: drop_old_aggregates()', keep_aggregates)
    ]
$$;
REVOKE ALL ON FUNCTION set_storage_policies FROM PUBLIC;

CREATE VIEW storage_policies_in_force AS
SELECT 'refresh' AS policy, relation, refresh_every AS setting, 'when asked' AS by
FROM aggregate_levels WHERE refresh_every IS NOT NULL
UNION ALL SELECT 'drop', l.relation, p.keep_aggregates, 'when asked' FROM storage_policies p, aggregate_levels l
ORDER BY 1 DESC, 2;
COMMENT ON VIEW storage_policies_in_force IS 'What is done to which relation, how often or from which age on, and by what.';

CREATE VIEW storage_jobs AS
SELECT NULL::integer AS job_id, NULL::text AS job, NULL::text AS relation, NULL::boolean AS scheduled,
       NULL::text AS status, NULL::timestamptz AS last_success, NULL::timestamptz AS next_start,
       NULL::bigint AS runs, NULL::bigint AS failures, NULL::integer AS consecutive_failures, NULL::text AS last_error,
       NULL::timestamptz AS last_error_at
WHERE false;
COMMENT ON VIEW storage_jobs IS 'Background jobs: none on this engine.';
