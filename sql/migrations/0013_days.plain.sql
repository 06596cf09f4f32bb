-- Which days have a place in `readings`, and which relation that is.

CREATE FUNCTION days_of_readings() RETURNS SETOF date
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT to_date(substr(c.relname, 10), 'YYYYMMDD')
    FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'readings'::regclass AND c.relname ~ '^readings_[0-9]{8}$'
    UNION
    SELECT (time AT TIME ZONE 'UTC')::date FROM readings_default
$$;
COMMENT ON FUNCTION days_of_readings IS
    'The UTC days that have a chunk or partition, or rows in the default one; of a dropped day that is its overlay.';

CREATE FUNCTION relations_of_day(day date) RETURNS SETOF regclass
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT coalesce((
        SELECT i.inhrelid FROM pg_inherits AS i
        WHERE i.inhparent = 'readings'::regclass
          AND i.inhrelid = to_regclass('public.readings_' || to_char(day, 'YYYYMMDD'))
    ), 'readings_default'::regclass)::regclass
$$;
COMMENT ON FUNCTION relations_of_day IS 'The chunks or the partition that hold readings of a UTC day.';
