-- Readings on plain PostgreSQL: one partition a UTC day, made on demand, and a default partition for the days nobody
-- asked for, so that a reading is never refused for its day.

CREATE TABLE readings (
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL,
    value   double precision NOT NULL,
    quality smallint NOT NULL,
    status  integer NOT NULL DEFAULT 0,
    CONSTRAINT readings_time CHECK (isfinite(time)),
    CONSTRAINT readings_quality CHECK (quality BETWEEN 0 AND 2),
    CONSTRAINT readings_value CHECK (quality = 0 OR value BETWEEN '-1e100' AND '1e100')
) PARTITION BY RANGE (time);
CREATE UNIQUE INDEX readings_tag_id_time_idx ON readings (tag_id, time DESC);
CREATE INDEX readings_time_idx ON readings USING brin (time) WITH (pages_per_range = 32);

CREATE TABLE readings_default PARTITION OF readings DEFAULT;

-- A partition is made aside and attached, which readers of other days do not notice. Writers wait for it a moment: a
-- row on its way to the default partition would be refused there once its day has a partition of its own. A lock that
-- is not to be had at once leaves the day to the default partition and to the next call.
CREATE FUNCTION ensure_readings_partitions(days date[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp SET lock_timeout = '500ms' AS $$
DECLARE
    day   date;
    name  text;
    since timestamptz;
    until timestamptz;
    made  integer := 0;
BEGIN
    IF days IS NULL THEN
        SELECT array_agg((d.time AT TIME ZONE 'UTC')::date) INTO days FROM readings_default d;
    END IF;
    SELECT array_agg(DISTINCT d ORDER BY d) INTO days FROM unnest(days) d
    WHERE d BETWEEN '0001-01-01' AND '9999-12-31' AND to_regclass('public.readings_' || to_char(d, 'YYYYMMDD')) IS NULL;
    IF days IS NULL THEN
        RETURN 0;
    END IF;
    LOCK TABLE readings IN SHARE ROW EXCLUSIVE MODE;
    LOCK TABLE readings_default IN ACCESS EXCLUSIVE MODE;
    FOREACH day IN ARRAY days LOOP
        name := 'readings_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;  -- made by whom we waited for
        since := day::timestamp AT TIME ZONE 'UTC';
        until := (day + 1)::timestamp AT TIME ZONE 'UTC';
        EXECUTE format('CREATE TABLE %I (LIKE readings INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('WITH moved AS (DELETE FROM readings_default WHERE time >= %L AND time < %L RETURNING *) '
                       'INSERT INTO %I SELECT * FROM moved', since, until, name);
        EXECUTE format('ALTER TABLE readings ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, since, until);
        made := made + 1;
    END LOOP;
    RETURN made;
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END $$;
COMMENT ON FUNCTION ensure_readings_partitions IS
    'Makes the partitions of these UTC days, moving what the default partition holds of them; without an argument, of every day in the default partition. Returns how many were made.';
REVOKE ALL ON FUNCTION ensure_readings_partitions FROM PUBLIC;
