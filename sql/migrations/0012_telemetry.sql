-- Telemetry by well: which tag is which metric, and the tables of well performance and diagnostics.

CREATE FUNCTION telemetry_metrics() RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT '{oil_rate,gas_rate,water_rate,tubing_pressure,casing_pressure,line_pressure,temperature,motor_current}'::text[]
$$;
COMMENT ON FUNCTION telemetry_metrics IS 'The metrics of a well that have columns in the telemetry relations.';

ALTER TABLE tags
    ADD COLUMN metric text CHECK (metric = 'none' OR metric = ANY (telemetry_metrics())),
    ADD COLUMN telemetry_metric text GENERATED ALWAYS AS (
        CASE WHEN coalesce(metric, name) = ANY (telemetry_metrics()) THEN coalesce(metric, name) END
    ) STORED,
    -- at the end of the transaction: two tags may exchange their metrics
    ADD CONSTRAINT tags_one_a_metric EXCLUDE USING btree (well_id WITH =, telemetry_metric WITH =)
        WHERE (retired_at IS NULL) DEFERRABLE INITIALLY DEFERRED;
COMMENT ON COLUMN tags.metric IS 'what the tag measures of its well; null: what its name says; none: nothing, whatever its name';
COMMENT ON COLUMN tags.telemetry_metric IS 'the metric that its readings count for in the telemetry relations; null: for none';

-- Once a template for each metric, which stands for {m} in it.
CREATE FUNCTION telemetry_each(template text, separator text DEFAULT ', ') RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(replace(template, '{m}', metric), separator ORDER BY place)
    FROM unnest(telemetry_metrics()) WITH ORDINALITY AS m(metric, place)
$$;

-- The SELECT that rolls buckets of one `_sums` relation up to wider ones. A median cannot be rolled up.
CREATE FUNCTION telemetry_rolled_up(source text, bucket text, condition text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT format(
        'SELECT %s AS bucket, s.tenant_id, s.well_id, sum(s.n)::bigint AS n, sum(s.n_good)::bigint AS n_good, '
        'sum(s.n_uncertain)::bigint AS n_uncertain, sum(s.n_bad)::bigint AS n_bad, %s FROM %s s WHERE %s GROUP BY 1, 2, 3',
        bucket,
        telemetry_each('sum(s.{m}_n)::bigint AS {m}_n, sum(s.{m}_sum) AS {m}_sum, sum(s.{m}_sum_sq) AS {m}_sum_sq, '
            'min(s.{m}_min) AS {m}_min, max(s.{m}_max) AS {m}_max, NULL::double precision AS {m}_median'),
        source, condition)
$$;

-- The relations people read, from those that hold sums; made by the part of each engine once those are there.
CREATE FUNCTION pg_temp.make_telemetry_views() RETURNS void
LANGUAGE plpgsql AS $make$
DECLARE
    week  CONSTANT text := $$date_bin('7 days', s.bucket, '2001-01-01 00:00+00')$$;
    month CONSTANT text := $$date_trunc('month', s.bucket, 'UTC')$$;
    width text;
    note  text;
BEGIN
    EXECUTE 'CREATE VIEW telemetry_weekly_sums AS ' || telemetry_rolled_up('telemetry_daily_sums', week, 'true');
    EXECUTE 'CREATE VIEW telemetry_monthly_sums AS ' || telemetry_rolled_up('telemetry_daily_sums', month, 'true');
    FOR width, note IN VALUES
        ('hourly', 'the hour'),
        ('daily', 'the UTC day; the median of the day in progress is null'),
        ('weekly', 'the UTC week from Monday; without medians, which cannot be rolled up'),
        ('monthly', 'the UTC month; without medians, which cannot be rolled up')
    LOOP
        EXECUTE format('CREATE VIEW telemetry_%1$s AS SELECT bucket, tenant_id, well_id, n, n_good, n_uncertain, n_bad, %2$s '
            'FROM telemetry_%1$s_sums', width,
            telemetry_each('mean_of({m}_n, {m}_sum) AS {m}_avg, {m}_min, {m}_max, {m}_median, '
                'stddev_of({m}_n, {m}_sum, {m}_sum_sq) AS {m}_stddev'));
        EXECUTE format('COMMENT ON VIEW telemetry_%s IS %L', width,
            'A row a well and bucket: statistics of the GOOD readings of each metric in ' || note);
        EXECUTE format('COMMENT ON VIEW telemetry_%1$s_sums IS %2$L', width,
            'What telemetry_' || width || ' divides: roll these up, not averages.');
    END LOOP;

    FOR width, note IN VALUES ('1week', week), ('1month', month) LOOP
        EXECUTE format($view$
            CREATE VIEW %1$I AS
            SELECT %2$s AS bucket, s.tag_id,
                   sum(s.n)::bigint AS n, sum(s.n_good)::bigint AS n_good, sum(s.n_uncertain)::bigint AS n_uncertain,
                   sum(s.n_bad)::bigint AS n_bad, sum(s.sum) AS sum, sum(s.sum_sq) AS sum_sq, min(s.min) AS min,
                   max(s.max) AS max,
                   (min(ARRAY[date_part('epoch', s.bucket), s.first]) FILTER (WHERE s.n_good > 0))[2] AS first,
                   (max(ARRAY[date_part('epoch', s.bucket), s.last]) FILTER (WHERE s.n_good > 0))[2] AS last
            FROM readings_1day s GROUP BY 1, 2
            $view$, 'readings_' || width, note);
        EXECUTE format($view$
            CREATE VIEW %1$I AS
            SELECT a.bucket, t.tenant_id, t.well_id, t.connection_id, a.tag_id, w.name AS well_name, t.name AS tag_name,
                   t.unit, a.n, a.n_good, a.n_uncertain, a.n_bad,
                   mean_of(a.n_good, a.sum) AS avg, stddev_of(a.n_good, a.sum, a.sum_sq) AS stddev,
                   a.min, a.max, a.first, a.last, a.sum, a.sum_sq, c.protocol AS source_protocol
            FROM %2$I a
            JOIN tags t USING (tag_id)
            JOIN wells w ON w.well_id = t.well_id
            JOIN scada_connections c ON c.connection_id = t.connection_id
            $view$, 'scada_readings_' || width, 'readings_' || width);
    END LOOP;
END $make$;

-- A tag that counts for another metric from now on does so for all its past: what is materialised of it is stale.
CREATE FUNCTION tag_metric_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO aggregate_invalidations (relation, span)
    SELECT l.relation, tstzrange(date_trunc('day', first.time, 'UTC'), 'infinity')
    FROM (
        SELECT min(oldest.time) AS time
        FROM after a
        JOIN before b USING (tag_id),
             LATERAL (SELECT r.time FROM readings r WHERE r.tag_id = a.tag_id ORDER BY r.time LIMIT 1) oldest
        WHERE (a.telemetry_metric, a.well_id, a.tenant_id) IS DISTINCT FROM (b.telemetry_metric, b.well_id, b.tenant_id)
    ) first, aggregate_levels l
    WHERE first.time IS NOT NULL AND l.kind = 'well';
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION tag_metric_changed FROM PUBLIC;
CREATE TRIGGER tags_metric_changed AFTER UPDATE ON tags
    REFERENCING OLD TABLE AS before NEW TABLE AS after FOR EACH STATEMENT EXECUTE FUNCTION tag_metric_changed();

-- What a well did in an hour: sums to be rolled up and divided last. The scores are computed from them.
CREATE TABLE well_performance_hourly (
    bucket                timestamptz NOT NULL CHECK (bucket = date_bin('1 hour', bucket, '2001-01-01 00:00+00')),
    tenant_id             uuid NOT NULL,
    well_id               integer NOT NULL,
    on_s                  double precision CHECK (on_s >= 0),
    covered_s             double precision NOT NULL DEFAULT 0 CHECK (covered_s BETWEEN 0 AND 3600),
    good_s                double precision NOT NULL DEFAULT 0 CHECK (good_s >= 0),
    uncertain_s           double precision NOT NULL DEFAULT 0 CHECK (uncertain_s >= 0),
    bad_s                 double precision NOT NULL DEFAULT 0 CHECK (bad_s >= 0),
    starts                integer CHECK (starts >= 0),
    volume                double precision,
    volume_estimated      double precision,
    potential_volume      double precision CHECK (potential_volume >= 0),
    reference_rate        double precision CHECK (reference_rate > 0),
    reference_source      text CHECK (reference_source IN ('well_test', 'trailing_median')),
    efficiency_score      double precision CHECK (efficiency_score BETWEEN 0 AND 100),
    health_score          double precision CHECK (health_score BETWEEN 0 AND 100),
    deviation_penalty     double precision CHECK (deviation_penalty >= 0),
    downtime_penalty      double precision CHECK (downtime_penalty >= 0),
    cycling_penalty       double precision CHECK (cycling_penalty >= 0),
    lift_penalty          double precision CHECK (lift_penalty >= 0),
    alarm_penalty         double precision CHECK (alarm_penalty >= 0),
    confidence            double precision CHECK (confidence BETWEEN 0 AND 1),
    anomaly_episodes      integer NOT NULL DEFAULT 0 CHECK (anomaly_episodes >= 0),
    anomaly_s             double precision NOT NULL DEFAULT 0 CHECK (anomaly_s >= 0),
    computed_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (well_id, bucket),
    FOREIGN KEY (tenant_id, well_id) REFERENCES wells (tenant_id, well_id)
);
CREATE INDEX ON well_performance_hourly (bucket);
COMMENT ON TABLE well_performance_hourly IS 'A row a well and hour: how long it ran and was seen, what it made, its scores. A score is null when unknown.';
COMMENT ON COLUMN well_performance_hourly.on_s IS 'seconds on production; null when that is not known';
COMMENT ON COLUMN well_performance_hourly.covered_s IS 'seconds for which there are readings';
COMMENT ON COLUMN well_performance_hourly.volume IS 'bbl of liquid';
COMMENT ON COLUMN well_performance_hourly.volume_estimated IS 'the part of it that was interpolated, bbl';
COMMENT ON COLUMN well_performance_hourly.potential_volume IS 'bbl at the reference rate';
COMMENT ON COLUMN well_performance_hourly.reference_rate IS 'bbl/d';
COMMENT ON COLUMN well_performance_hourly.confidence IS 'coverage * share of good readings * share of the weights that could be computed; below 0.5 there is no score';
COMMENT ON COLUMN well_performance_hourly.anomaly_episodes IS 'episodes that began in the hour; a gap below 15 minutes does not end one';

CREATE TABLE diagnostic_summary_daily (
    production_day    date NOT NULL,
    tenant_id         uuid NOT NULL,
    well_id           integer NOT NULL,
    diagnosis_type    text NOT NULL CHECK (diagnosis_type <> ''),
    n_opened          integer NOT NULL DEFAULT 0 CHECK (n_opened >= 0),
    n_closed          integer NOT NULL DEFAULT 0 CHECK (n_closed >= 0),
    n_active_at_end   integer NOT NULL DEFAULT 0 CHECK (n_active_at_end >= 0),
    active_s          double precision NOT NULL DEFAULT 0 CHECK (active_s >= 0),
    n_info            integer NOT NULL DEFAULT 0 CHECK (n_info >= 0),
    n_warn            integer NOT NULL DEFAULT 0 CHECK (n_warn >= 0),
    n_error           integer NOT NULL DEFAULT 0 CHECK (n_error >= 0),
    n_critical        integer NOT NULL DEFAULT 0 CHECK (n_critical >= 0),
    confidence_n      integer NOT NULL DEFAULT 0 CHECK (confidence_n >= 0),
    confidence_sum    double precision,
    confidence_min    double precision,
    confidence_p10    double precision,
    confidence_median double precision,
    confidence_max    double precision,
    first_seen        timestamptz,
    last_seen         timestamptz,
    ack_median_s      double precision CHECK (ack_median_s >= 0),
    computed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (well_id, production_day, diagnosis_type),
    FOREIGN KEY (tenant_id, well_id) REFERENCES wells (tenant_id, well_id)
);
CREATE INDEX ON diagnostic_summary_daily (production_day);
COMMENT ON TABLE diagnostic_summary_daily IS 'A row a production day, well and diagnosis: its episodes. One that spans two days is opened once and active in both.';
COMMENT ON COLUMN diagnostic_summary_daily.production_day IS 'from the contract hour of the well, in its time zone';

-- How often each aggregate is refreshed in the background.
ALTER TABLE aggregate_levels ADD COLUMN refresh_every interval;
ALTER TABLE storage_policies ADD COLUMN refresh_every jsonb NOT NULL DEFAULT '{}';
COMMENT ON COLUMN storage_policies.refresh_every IS 'seconds by aggregate';
DROP FUNCTION set_storage_policies(interval, interval);

-- Finest first. A refresh takes its time: who asks every five minutes is not put off to the next time for some seconds.
CREATE FUNCTION aggregates_to_refresh(only_due boolean) RETURNS text[]
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT coalesce(array_agg(relation ORDER BY level), '{}') FROM aggregate_levels
    WHERE NOT only_due OR coalesce(refreshed_at + 0.9 * refresh_every <= clock_timestamp(), true)
$$;

CREATE OR REPLACE PROCEDURE refresh_aggregates()
LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY public.aggregates_to_refresh(false) LOOP
        CALL public.refresh_aggregate(name, NULL, NULL);
    END LOOP;
END $$;
COMMENT ON PROCEDURE refresh_aggregates IS 'Makes every aggregate right, finest first. Not inside a transaction.';

CREATE PROCEDURE refresh_due_aggregates()
LANGUAGE plpgsql AS $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY public.aggregates_to_refresh(true) LOOP
        CALL public.refresh_aggregate(name, NULL, NULL);
    END LOOP;
END $$;
COMMENT ON PROCEDURE refresh_due_aggregates IS
    'Makes right, finest first, every aggregate whose last refresh is as long ago as its policy says. Not inside a transaction.';

-- What is stored at or beyond the watermark would be counted twice: there must be none.
CREATE FUNCTION aggregate_beyond_watermark(relation text) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s WHERE bucket >= $1', aggregate_table(relation))
        INTO found USING (SELECT coalesce(watermark, '-infinity') FROM aggregate_status s
                          WHERE s.relation = aggregate_beyond_watermark.relation);
    RETURN found;
END $$;
COMMENT ON FUNCTION aggregate_beyond_watermark IS 'How many stored buckets begin at or after the watermark of an aggregate.';

-- Every transaction that stored something after `known` was the next has a number not below it.
CREATE FUNCTION aggregate_buckets_stored(relation text, since timestamptz, until timestamptz, known xid8) RETURNS bigint
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    found bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM %s WHERE bucket >= $1 AND bucket < $2 AND age(xmin) <= $3', aggregate_table(relation))
        INTO found USING since, until, age((known::text::bigint % 4294967296)::text::xid);
    RETURN found;
END $$;
COMMENT ON FUNCTION aggregate_buckets_stored IS
    'How many buckets of [since, until) were stored by transactions from `known` on: pg_snapshot_xmax(pg_current_snapshot()) before a refresh.';
