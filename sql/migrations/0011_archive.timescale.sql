-- A dropped day is not recomputed from what came late: its aggregates stand until it is restored or archived anew.

CREATE OR REPLACE FUNCTION readings_days() RETURNS tstzmultirange
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce(range_agg(tstzrange(range_start, range_end)), '{}') - coalesce((
        SELECT range_agg(tstzrange(w.day::timestamp AT TIME ZONE 'UTC', (w.day + 1)::timestamp AT TIME ZONE 'UTC'))
        FROM reading_days w WHERE w.dropped_at IS NOT NULL
    ), '{}')
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'public' AND hypertable_name = 'readings'
$$;
