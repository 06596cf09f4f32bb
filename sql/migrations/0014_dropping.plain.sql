-- Dropping a day of readings on plain PostgreSQL: a day is a partition, detached and dropped.

-- Aggregates are not refreshed while the caller's session holds them; false: they are being refreshed just now.
CREATE FUNCTION hold_aggregates() RETURNS boolean
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM pg_advisory_lock(hashtext('aggregate_materialise'));
    RETURN true;
END $$;
REVOKE ALL ON FUNCTION hold_aggregates FROM PUBLIC;

CREATE FUNCTION release_aggregates() RETURNS boolean
LANGUAGE sql SET search_path = public, pg_temp AS $$ SELECT pg_advisory_unlock(hashtext('aggregate_materialise')) $$;
REVOKE ALL ON FUNCTION release_aggregates FROM PUBLIC;

CREATE FUNCTION make_readings_day(day date) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$ SELECT ensure_readings_partitions(ARRAY[day]) $$;
REVOKE ALL ON FUNCTION make_readings_day FROM PUBLIC;
COMMENT ON FUNCTION make_readings_day IS 'Makes the partition of a UTC day where there is none, unless a writer is in the way.';

CREATE FUNCTION decompress_readings_day(day date) RETURNS void
LANGUAGE sql IMMUTABLE AS $$ SELECT $$;
REVOKE ALL ON FUNCTION decompress_readings_day FROM PUBLIC;
COMMENT ON FUNCTION decompress_readings_day IS 'Nothing to do on plain PostgreSQL: nothing is compressed.';

CREATE FUNCTION lock_readings_day(day date) RETURNS void
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    name CONSTANT text := 'readings_' || to_char(day, 'YYYYMMDD');
BEGIN
    IF to_regclass('public.' || name) IS NULL THEN
        RAISE EXCEPTION 'there is no partition of %', day
            USING HINT = 'SELECT make_readings_day(day) makes it, once no writer is in the way',
                  ERRCODE = 'lock_not_available';
    END IF;
    EXECUTE format('LOCK TABLE %I IN SHARE ROW EXCLUSIVE MODE', name);
END $$;
REVOKE ALL ON FUNCTION lock_readings_day FROM PUBLIC;
COMMENT ON FUNCTION lock_readings_day IS
    'Lets nobody write readings of this UTC day until the transaction ends; whoever is at it is waited for.';

CREATE FUNCTION drop_readings_day(day date) RETURNS bigint
LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    name CONSTANT text := 'readings_' || to_char(day, 'YYYYMMDD');
    size CONSTANT bigint := pg_total_relation_size(name);
BEGIN
    EXECUTE format('ALTER TABLE readings DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN size;
END $$;
REVOKE ALL ON FUNCTION drop_readings_day FROM PUBLIC;
COMMENT ON FUNCTION drop_readings_day IS 'Drops what `readings` holds of a UTC day, after lock_readings_day; returns its bytes.';

-- What came while the day was dropped was left out of the aggregates, and is no longer logged.
CREATE FUNCTION invalidate_readings_day(day date) RETURNS void
LANGUAGE sql SET search_path = public, pg_temp AS $$
    INSERT INTO aggregate_invalidations (relation, span)
    SELECT relation, tstzrange(day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC')
    FROM aggregate_levels
$$;
REVOKE ALL ON FUNCTION invalidate_readings_day FROM PUBLIC;
COMMENT ON FUNCTION invalidate_readings_day IS 'Has the next refresh recompute every bucket of a UTC day.';

-- `exact`: no other reading than those of the day may be in doubt, which only TimescaleDB's log cannot say.
CREATE FUNCTION aggregates_behind(day date, exact boolean) RETURNS SETOF text
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT l.relation
    FROM aggregate_levels l,
         tstzrange(day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC') AS span
    WHERE l.watermark < upper(span)
       OR EXISTS (SELECT FROM aggregate_invalidations i WHERE i.relation = l.relation AND i.span && span)
    ORDER BY l.level
$$;
COMMENT ON FUNCTION aggregates_behind IS 'The aggregates that are not, or no longer, right for a UTC day.';
