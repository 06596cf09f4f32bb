-- Dropping a day of readings on TimescaleDB: a day is a chunk.

-- Aggregates are not refreshed while the caller's session holds them; false: they are being refreshed just now.
CREATE FUNCTION hold_aggregates() RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_lock(hashtext('aggregate_take_turn'));
    IF aggregate_in_refresh() THEN
        PERFORM pg_advisory_unlock(hashtext('aggregate_take_turn'));
        RETURN false;
    END IF;
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION hold_aggregates FROM PUBLIC;

CREATE FUNCTION release_aggregates() RETURNS boolean
LANGUAGE sql SET search_path = public, pg_temp AS $$ SELECT pg_advisory_unlock(hashtext('aggregate_take_turn')) $$;
REVOKE ALL ON FUNCTION release_aggregates FROM PUBLIC;

-- The chunk that holds readings of a UTC day, of which there may be none.
CREATE FUNCTION readings_chunk(day date) RETURNS regclass
LANGUAGE plpgsql STABLE SET search_path = public, pg_temp AS $$
DECLARE
    since CONSTANT timestamptz := day::timestamp AT TIME ZONE 'UTC';
    until CONSTANT timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
    found record;
BEGIN
    SELECT format('%I.%I', chunk_schema, chunk_name)::regclass AS name, range_start, range_end INTO found
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'public' AND hypertable_name = 'readings' AND range_start < until AND range_end > since;
    IF (found.range_start, found.range_end) <> (since, until) THEN
        RAISE EXCEPTION 'chunk % of readings is not the UTC day %: it spans % to %',
            found.name, day, found.range_start, found.range_end
            USING HINT = 'Days are dropped one by one: the chunk interval of readings has to be 1 day',
                  ERRCODE = 'feature_not_supported';
    END IF;
    RETURN found.name;
END $$;

-- Beforehand: the one who makes a chunk holds up everybody else who would make one until his transaction ends.
CREATE FUNCTION make_readings_day(day date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    IF readings_chunk(day) IS NULL THEN
        PERFORM _timescaledb_functions.create_chunk('readings', jsonb_build_object('time', jsonb_build_array(
            (extract(epoch FROM day::timestamp AT TIME ZONE 'UTC') * 1000000)::bigint,
            (extract(epoch FROM (day + 1)::timestamp AT TIME ZONE 'UTC') * 1000000)::bigint)));
    END IF;
END $$;
REVOKE ALL ON FUNCTION make_readings_day FROM PUBLIC;
COMMENT ON FUNCTION make_readings_day IS 'Makes the chunk of a UTC day where there is none.';

-- A row that comes into a compressed chunk is looked for in there first.
CREATE FUNCTION decompress_readings_day(day date) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$ SELECT decompress_chunk(readings_chunk(day), if_compressed => true) $$;
REVOKE ALL ON FUNCTION decompress_readings_day FROM PUBLIC;
COMMENT ON FUNCTION decompress_readings_day IS 'Readies the chunk of a UTC day, which is there, for many rows.';

CREATE FUNCTION lock_readings_day(day date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    chunk regclass := readings_chunk(day);
BEGIN
    IF chunk IS NULL THEN  -- then who is about to make it is waited for
        LOCK TABLE ONLY readings IN SHARE ROW EXCLUSIVE MODE;
        chunk := readings_chunk(day);
    END IF;
    IF chunk IS NOT NULL THEN
        EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', chunk);
    END IF;
END $$;
REVOKE ALL ON FUNCTION lock_readings_day FROM PUBLIC;
COMMENT ON FUNCTION lock_readings_day IS
    'Lets nobody write readings of this UTC day until the transaction ends; whoever is at it is waited for.';

CREATE FUNCTION drop_readings_day(day date) RETURNS bigint
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    chunk CONSTANT regclass := readings_chunk(day);
    size  bigint;
BEGIN
    IF chunk IS NULL THEN
        RETURN 0;
    END IF;
    SELECT total_bytes INTO size FROM chunks_detailed_size('readings')
    WHERE format('%I.%I', chunk_schema, chunk_name)::regclass = chunk;
    PERFORM drop_chunks('readings', newer_than => day::timestamp AT TIME ZONE 'UTC',
                        older_than => (day + 1)::timestamp AT TIME ZONE 'UTC');
    RETURN coalesce(size, 0);
END $$;
REVOKE ALL ON FUNCTION drop_readings_day FROM PUBLIC;
COMMENT ON FUNCTION drop_readings_day IS 'Drops what `readings` holds of a UTC day, after lock_readings_day; returns its bytes.';

CREATE FUNCTION invalidate_readings_day(day date) RETURNS void
LANGUAGE sql IMMUTABLE AS $$ SELECT $$;
REVOKE ALL ON FUNCTION invalidate_readings_day FROM PUBLIC;
COMMENT ON FUNCTION invalidate_readings_day IS
    'Nothing to do on TimescaleDB: drop_chunks logs the whole day as changed, and no refresh takes a dropped day from the log.';

-- A dropped chunk is logged from its start to its end, both included: whoever wants to be exact has the day after it
-- refreshed first. What is logged of a time without a chunk stays there: there is nothing to refresh.
CREATE FUNCTION aggregates_behind(day date, exact boolean) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT l.relation
    FROM aggregate_levels l
    JOIN _timescaledb_catalog.continuous_agg c ON c.user_view_schema = 'public' AND c.user_view_name = l.stored_in,
         LATERAL (SELECT day::timestamp AT TIME ZONE 'UTC' AS since, (day + 1)::timestamp AT TIME ZONE 'UTC' AS until) d,
         LATERAL (SELECT (extract(epoch FROM since) * 1000000)::bigint + CASE WHEN exact THEN 0 ELSE 1 END AS low,
                         (extract(epoch FROM until) * 1000000)::bigint AS high) micros
    -- without readings to count there is nothing to store, and the watermark stays where it is
    WHERE readings_chunk(day) IS NOT NULL
      AND (coalesce(greatest(aggregate_watermark(l.relation), l.refreshed_to), '-infinity') < until
           OR EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_materialization_invalidation_log m
                      WHERE m.materialization_id = c.mat_hypertable_id
                        AND m.lowest_modified_value < high AND m.greatest_modified_value >= low)
           OR EXISTS (SELECT FROM _timescaledb_catalog.continuous_aggs_hypertable_invalidation_log h
                      WHERE h.hypertable_id = c.raw_hypertable_id
                        AND h.lowest_modified_value < high AND h.greatest_modified_value >= low)
           OR EXISTS (SELECT FROM aggregate_invalidations i
                      WHERE i.relation = l.relation AND i.span && tstzrange(since, until)))
    ORDER BY l.level
$$;
COMMENT ON FUNCTION aggregates_behind IS 'The aggregates that are not, or no longer, right for a UTC day.';
