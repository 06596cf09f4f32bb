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
CREATE INDEX readings_time_idx ON readings USING brin (time) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE readings_default PARTITION OF readings DEFAULT;

CREATE FUNCTION ensure_readings_partitions(days date[] DEFAULT NULL) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    day   date;
    name  text;
    since timestamptz;
    until timestamptz;
    made  integer := 0;
BEGIN
    IF days IS NULL THEN
        SELECT coalesce(array_agg(DISTINCT (d.time AT TIME ZONE 'UTC')::date), '{}') INTO days FROM readings_default d;
    END IF;
    FOR day IN SELECT DISTINCT d FROM unnest(days) d WHERE d BETWEEN '0001-01-01' AND '9999-12-31' ORDER BY d LOOP
        name := 'readings_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        -- one maker at a time; whoever waited finds the partition made
        PERFORM pg_advisory_xact_lock(hashtext('ensure_readings_partitions'));
        CONTINUE WHEN to_regclass('public.' || name) IS NOT NULL;
        since := day::timestamp AT TIME ZONE 'UTC';
        until := (day + 1)::timestamp AT TIME ZONE 'UTC';
        -- made aside and attached: a lock on readings that stops neither readers nor writers of other partitions
        EXECUTE format('CREATE TABLE %I (LIKE readings INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT day CHECK (time >= %L AND time < %L)', name, since, until);
        LOCK TABLE readings_default IN ACCESS EXCLUSIVE MODE;
        EXECUTE format('WITH moved AS (DELETE FROM readings_default WHERE time >= %L AND time < %L RETURNING *) '
                       'INSERT INTO %I SELECT * FROM moved', since, until, name);
        EXECUTE format('ALTER TABLE readings ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, since, until);
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT day', name);
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION ensure_readings_partitions IS
    'Makes the partitions of these UTC days, moving what the default partition holds of them; without an argument, of every day in the default partition. Returns how many were made.';
REVOKE ALL ON FUNCTION ensure_readings_partitions FROM PUBLIC;
