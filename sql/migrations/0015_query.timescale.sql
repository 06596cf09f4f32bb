-- What a reader must know of an aggregate on TimescaleDB: which of its buckets wait for a refresh.
--
-- A refresh moves what was logged from one table to the next, each in a transaction of its own, and the last one ends
-- with the buckets: a range is in one of them until it shows. Older releases have no table of ranges.

CREATE FUNCTION aggregate_stale(relation text, since timestamptz, until timestamptz) RETURNS SETOF tstzrange
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first CONSTANT bigint := _timescaledb_functions.to_unix_microseconds(since);
    past  CONSTANT bigint := _timescaledb_functions.to_unix_microseconds(until);
    logs  text := 'SELECT k.watermark, i.lowest_modified_value AS lowest, i.greatest_modified_value AS greatest
        FROM known k JOIN _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log i
          ON i.hypertable_id = k.raw_hypertable_id
        UNION ALL
        SELECT k.watermark, i.lowest_modified_value, i.greatest_modified_value
        FROM known k JOIN _timescaledb_catalog.continuous_aggs_materialization_invalidation_log i
          ON i.materialization_id = k.mat_hypertable_id';
BEGIN
    IF to_regclass('_timescaledb_catalog.continuous_aggs_materialization_ranges') IS NOT NULL THEN
        logs := logs || ' UNION ALL
        SELECT k.watermark, i.lowest_modified_value, i.greatest_modified_value
        FROM known k JOIN _timescaledb_catalog.continuous_aggs_materialization_ranges i
          ON i.materialization_id = k.mat_hypertable_id';
    END IF;
    RETURN QUERY EXECUTE '
    WITH RECURSIVE chain AS (
        SELECT l.stored_in, l.finer FROM aggregate_levels l WHERE l.relation = $1
        UNION ALL
        SELECT l.stored_in, l.finer FROM aggregate_levels l JOIN chain c ON l.relation = c.finer
    ), known AS (
        SELECT a.mat_hypertable_id, a.raw_hypertable_id,
               _timescaledb_functions.cagg_watermark(a.mat_hypertable_id) AS watermark
        FROM chain c
        JOIN _timescaledb_catalog.continuous_agg a
          ON a.user_view_schema = ''public'' AND a.user_view_name = c.stored_in
    ), logged AS (' || logs || ')
    -- the time before the first chunk, between chunks and of dropped days stays logged: there is nothing to refresh
    SELECT unnest(range_agg(tstzrange(_timescaledb_functions.to_timestamp(greatest(lowest, $2)),
                                      _timescaledb_functions.to_timestamp(least(greatest, watermark - 1, $3 - 1)), ''[]''))
                  * readings_days())
    FROM logged WHERE lowest < least(watermark, $3) AND greatest >= $2 AND watermark > $2 HAVING count(*) > 0'
    USING relation, first, past;
END $$;
COMMENT ON FUNCTION aggregate_stale IS
    'Where, of [since, until), readings changed below the watermark of this aggregate, or of one that it is made from, and it does not show yet.';
