-- Aggregates on plain PostgreSQL: what a continuous aggregate does, with a table, a watermark and an invalidation log.
--
-- Below its watermark a relation is read from its table; at and above it, it is computed at query time from the finer
-- relation. A change to readings below the threshold is logged as five-minute spans by statement-level triggers; a
-- refresh recomputes the logged spans, logs them for the next coarser relation, and moves the watermark on.
--
-- No change is ever missed. A writer takes a lock shared and keeps it to the end of its transaction; a refresh takes
-- it exclusive to move the threshold, commits, and only then reads. So whoever wrote without logging has committed
-- before the refresh reads, and whoever writes later sees the new threshold and logs.

CREATE TABLE aggregate_levels (
    relation        text PRIMARY KEY,
    level           smallint NOT NULL UNIQUE,
    width           interval NOT NULL,
    finer           text NOT NULL,
    coarser         text,
    threshold       timestamptz NOT NULL DEFAULT '-infinity',
    watermark       timestamptz NOT NULL DEFAULT '-infinity',
    materialised_to timestamptz,
    refreshed_at    timestamptz
);
COMMENT ON COLUMN aggregate_levels.threshold IS 'of the finest relation: changes to readings below it are logged; never behind its watermark';
COMMENT ON COLUMN aggregate_levels.watermark IS 'below it the table is read, at and above it the finer relation';
INSERT INTO aggregate_levels (relation, level, width, finer, coarser) VALUES
    ('readings_1min', 1, '1 minute', 'readings', 'readings_5min'),
    ('readings_5min', 2, '5 minutes', 'readings_1min', 'readings_1hour'),
    ('readings_1hour', 3, '1 hour', 'readings_5min', 'readings_1day'),
    ('readings_1day', 4, '1 day', 'readings_1hour', NULL);

CREATE TABLE aggregate_invalidations (
    relation text NOT NULL REFERENCES aggregate_levels,
    span     tstzrange NOT NULL
);

-- The SELECT that makes the buckets of one relation from rows of the finer one; the one place that says how.
-- The first and last value are those of the least and greatest (time, value) pair, which needs no sort; seconds as
-- double precision are exact to the microsecond until the year 2255. The square of a value too small to have one is 0:
-- PostgreSQL refuses an underflow.
CREATE FUNCTION aggregate_select(width interval, source text, condition text) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
SELECT format(CASE source WHEN 'readings' THEN $raw$
    SELECT date_bin(%1$L, s.time, '2000-01-01 00:00+00') AS bucket,
           s.tag_id,
           count(*) AS n,
           count(*) FILTER (WHERE s.quality = 2) AS n_good,
           count(*) FILTER (WHERE s.quality = 1) AS n_uncertain,
           count(*) FILTER (WHERE s.quality = 0) AS n_bad,
           sum(s.value) FILTER (WHERE s.quality = 2) AS sum,
           sum(CASE WHEN abs(s.value) > '1e-150' THEN s.value * s.value ELSE 0 END) FILTER (WHERE s.quality = 2) AS sum_sq,
           min(s.value) FILTER (WHERE s.quality = 2) AS min,
           max(s.value) FILTER (WHERE s.quality = 2) AS max,
           (min(ARRAY[date_part('epoch', s.time), s.value]) FILTER (WHERE s.quality = 2))[2] AS first,
           (max(ARRAY[date_part('epoch', s.time), s.value]) FILTER (WHERE s.quality = 2))[2] AS last
    FROM %2$I s WHERE %3$s GROUP BY 1, 2
    $raw$ ELSE $rolled$
    SELECT date_bin(%1$L, s.bucket, '2000-01-01 00:00+00') AS bucket,
           s.tag_id,
           sum(s.n)::bigint AS n,
           sum(s.n_good)::bigint AS n_good,
           sum(s.n_uncertain)::bigint AS n_uncertain,
           sum(s.n_bad)::bigint AS n_bad,
           sum(s.sum) AS sum,
           sum(s.sum_sq) AS sum_sq,
           min(s.min) AS min,
           max(s.max) AS max,
           (min(ARRAY[date_part('epoch', s.bucket), s.first]) FILTER (WHERE s.n_good > 0))[2] AS first,
           (max(ARRAY[date_part('epoch', s.bucket), s.last]) FILTER (WHERE s.n_good > 0))[2] AS last
    FROM %2$I s WHERE %3$s GROUP BY 1, 2
    $rolled$ END, width, source, condition)
$$;

DO $$
DECLARE
    l    aggregate_levels;
    mark text;
    col  text;
BEGIN
    FOR l IN SELECT * FROM aggregate_levels ORDER BY level LOOP
        EXECUTE format('CREATE TABLE %I (bucket timestamptz NOT NULL, tag_id integer NOT NULL, n bigint NOT NULL, '
            'n_good bigint NOT NULL, n_uncertain bigint NOT NULL, n_bad bigint NOT NULL, sum double precision, '
            'sum_sq double precision, min double precision, max double precision, first double precision, '
            'last double precision)', l.relation || '_materialised');
        EXECUTE format('CREATE UNIQUE INDEX ON %I (tag_id, bucket DESC)', l.relation || '_materialised');
        EXECUTE format('CREATE INDEX ON %I USING brin (bucket) WITH (pages_per_range = 16)',
            l.relation || '_materialised');
        mark := format('(SELECT watermark FROM aggregate_levels WHERE relation = %L)', l.relation);
        col := CASE l.level WHEN 1 THEN 'time' ELSE 'bucket' END;
        EXECUTE format('CREATE VIEW %I AS SELECT m.* FROM %I m WHERE m.bucket < %s UNION ALL %s',
            l.relation, l.relation || '_materialised', mark,
            aggregate_select(l.width, l.finer, format('s.%I >= %s', col, mark)));
    END LOOP;
END $$;

CREATE FUNCTION readings_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    known timestamptz;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('aggregate_levels.threshold'));
    SELECT threshold INTO known FROM aggregate_levels WHERE level = 1;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        known := 'infinity';  -- its snapshot may be older than the threshold: log whatever it writes
    END IF;
    INSERT INTO aggregate_invalidations
    SELECT 'readings_1min', unnest(range_agg(tstzrange(bin, bin + '5 minutes'::interval)))
    FROM (SELECT DISTINCT date_bin('5 minutes', time, '2000-01-01 00:00+00') AS bin FROM changed WHERE time < known) bins;
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO aggregate_invalidations
        SELECT 'readings_1min', unnest(range_agg(tstzrange(bin, bin + '5 minutes'::interval)))
        FROM (SELECT DISTINCT date_bin('5 minutes', time, '2000-01-01 00:00+00') AS bin FROM before WHERE time < known) bins;
    END IF;
    RETURN NULL;
END $$;
REVOKE ALL ON FUNCTION readings_changed FROM PUBLIC;

CREATE TRIGGER readings_inserted AFTER INSERT ON readings
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION readings_changed();
CREATE TRIGGER readings_updated AFTER UPDATE ON readings
    REFERENCING OLD TABLE AS before NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION readings_changed();
CREATE TRIGGER readings_deleted AFTER DELETE ON readings
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION readings_changed();
