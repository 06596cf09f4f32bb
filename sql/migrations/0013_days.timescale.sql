-- Which days have a place in `readings`, and which relations that is.

CREATE FUNCTION days_of_readings() RETURNS SETOF date
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT DISTINCT d::date
    FROM timescaledb_information.chunks,
         generate_series(date_trunc('day', range_start AT TIME ZONE 'UTC'),
                         range_end AT TIME ZONE 'UTC' - '1 microsecond'::interval, '1 day') AS d
    WHERE hypertable_schema = 'public' AND hypertable_name = 'readings'
$$;
COMMENT ON FUNCTION days_of_readings IS
    'The UTC days that have a chunk or partition, or rows in the default one; of a dropped day that is its overlay.';

CREATE FUNCTION relations_of_day(day date) RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT format('%I.%I', chunk_schema, chunk_name)::regclass
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'public' AND hypertable_name = 'readings'
      AND range_start < (day + 1)::timestamp AT TIME ZONE 'UTC' AND range_end > day::timestamp AT TIME ZONE 'UTC'
$$;
COMMENT ON FUNCTION relations_of_day IS 'The chunks or the partition that hold readings of a UTC day.';
