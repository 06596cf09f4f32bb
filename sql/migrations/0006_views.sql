-- The relations people read: names instead of numbers, words instead of codes.

CREATE VIEW scada_readings AS
SELECT r.time,
       t.tenant_id,
       t.well_id,
       t.connection_id,
       r.tag_id,
       w.name AS well_name,
       t.name AS tag_name,
       t.unit,
       nullif(r.value, 'NaN') AS value,
       CASE r.quality WHEN 2 THEN 'GOOD' WHEN 1 THEN 'UNCERTAIN' ELSE 'BAD' END AS quality,
       r.status::bigint & 4294967295 AS status_code,
       c.protocol AS source_protocol
FROM readings r
JOIN tags t USING (tag_id)
JOIN wells w ON w.well_id = t.well_id
JOIN scada_connections c ON c.connection_id = t.connection_id;
COMMENT ON VIEW scada_readings IS 'Every reading with its names. A reading without a value has a null value and quality BAD.';

CREATE VIEW field_entries_current AS
SELECT DISTINCT ON (entry_id) * FROM field_entries ORDER BY entry_id, revision DESC;
COMMENT ON VIEW field_entries_current IS 'The latest revision of every entry.';

-- Roll up sums, divide last. A sum too small to be divided or squared counts as 0: PostgreSQL refuses an underflow.
CREATE FUNCTION mean_of(n bigint, sum double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN n > 0 THEN CASE WHEN abs(sum) > '1e-150' THEN sum / n ELSE 0 END END
$$;
COMMENT ON FUNCTION mean_of IS 'Mean of n values from their sum; null without a value.';

CREATE FUNCTION stddev_of(n bigint, sum double precision, sum_sq double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN n > 1 THEN
        sqrt(greatest(0, sum_sq - CASE WHEN abs(sum) > '1e-150' THEN sum * (sum / n) ELSE 0 END) / (n - 1))
    END
$$;
COMMENT ON FUNCTION stddev_of IS 'Sample standard deviation of n values from their sum and sum of squares; null below two values.';

DO $$
DECLARE
    width text;
BEGIN
    FOREACH width IN ARRAY '{1min,5min,1hour,1day}'::text[] LOOP
        EXECUTE format($view$
            CREATE VIEW %1$I AS
            SELECT a.bucket, t.tenant_id, t.well_id, t.connection_id, a.tag_id, w.name AS well_name, t.name AS tag_name,
                   t.unit, a.n, a.n_good, a.n_uncertain, a.n_bad,
                   mean_of(a.n_good, a.sum) AS avg, stddev_of(a.n_good, a.sum, a.sum_sq) AS stddev,
                   a.min, a.max, a.first, a.last, a.sum, a.sum_sq, c.protocol AS source_protocol
            FROM %2$I a
            JOIN tags t USING (tag_id)
            JOIN wells w ON w.well_id = t.well_id
            JOIN scada_connections c ON c.connection_id = t.connection_id
            $view$, 'scada_readings_' || width, 'readings_' || width);
        EXECUTE format('COMMENT ON VIEW %I IS %L', 'scada_readings_' || width,
            'Buckets of ' || width || ' with names. Value statistics are over GOOD readings only; n counts all.');
    END LOOP;
END $$;
