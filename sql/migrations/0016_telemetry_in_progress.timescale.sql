-- The hour and day in progress of the telemetry relations, made from readings in two steps: first by metric, so that a
-- reading is looked at once and not once a column. A continuous aggregate cannot be made that way; what is on top of it
-- can. An hour in progress of twelve wells then takes half the time.

CREATE FUNCTION telemetry_in_progress(width interval, condition text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
SELECT format($raw$
    SELECT m.bucket, m.tenant_id, m.well_id, sum(m.n)::bigint AS n, sum(m.n_good)::bigint AS n_good,
           sum(m.n_uncertain)::bigint AS n_uncertain, sum(m.n_bad)::bigint AS n_bad, %3$s
    FROM (
        SELECT time_bucket(%1$L::interval, s.time) AS bucket, t.tenant_id, t.well_id, t.telemetry_metric AS metric,
               count(*) AS n,
               count(*) FILTER (WHERE s.quality = 2) AS n_good,
               count(*) FILTER (WHERE s.quality = 1) AS n_uncertain,
               count(*) FILTER (WHERE s.quality = 0) AS n_bad,
               sum(s.value) FILTER (WHERE s.quality = 2) AS sum,
               sum(CASE WHEN abs(s.value) > '1e-150' THEN s.value * s.value ELSE 0 END) FILTER (WHERE s.quality = 2) AS sum_sq,
               min(s.value) FILTER (WHERE s.quality = 2) AS min,
               max(s.value) FILTER (WHERE s.quality = 2) AS max,
               percentile_cont(0.5) WITHIN GROUP (ORDER BY s.value) FILTER (WHERE s.quality = 2) AS median
        FROM readings s JOIN tags t ON t.tag_id = s.tag_id
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

DO $do$
DECLARE
    hourly text;
    daily  text;
    mark   CONSTANT text := $mark$
        coalesce(_timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(%s)), '-infinity')$mark$;
BEGIN
    SELECT format(mark, mat_hypertable_id) INTO hourly FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = 'public' AND user_view_name = 'telemetry_hourly_materialised';
    SELECT format(mark, mat_hypertable_id) INTO daily FROM _timescaledb_catalog.continuous_agg
    WHERE user_view_schema = 'public' AND user_view_name = 'telemetry_daily_materialised';

    EXECUTE 'CREATE OR REPLACE VIEW telemetry_hourly_sums AS SELECT * FROM telemetry_hourly_materialised UNION ALL '
        || telemetry_in_progress('1 hour', 's.time >= ' || hourly);
    EXECUTE 'CREATE OR REPLACE VIEW telemetry_daily_sums AS SELECT * FROM telemetry_daily_materialised UNION ALL '
        || telemetry_rolled_up(format($parts$(
            SELECT time_bucket('1 day'::interval, h.bucket) AS bucket, h.tenant_id, h.well_id, h.n, h.n_good, h.n_uncertain,
                   h.n_bad, %s
            FROM telemetry_hourly_materialised h WHERE h.bucket >= %s
            UNION ALL %s)$parts$,
            telemetry_each('h.{m}_n, h.{m}_sum, h.{m}_sum_sq, h.{m}_min, h.{m}_max, h.{m}_median'), daily,
            telemetry_in_progress('1 day', format('s.time >= %s AND s.time >= %s', hourly, daily))), 's.bucket', 'true');
END $do$;
