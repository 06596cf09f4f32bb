-- Readings on TimescaleDB: a hypertable with one chunk a UTC day and columnstore by tag.

CREATE TABLE readings (
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL,
    value   double precision NOT NULL,
    quality smallint NOT NULL,
    status  integer NOT NULL DEFAULT 0,
    CONSTRAINT readings_time CHECK (isfinite(time)),
    CONSTRAINT readings_quality CHECK (quality BETWEEN 0 AND 2),
    CONSTRAINT readings_value CHECK (quality = 0 OR value BETWEEN '-1e100' AND '1e100')
) WITH (
    tsdb.hypertable,
    tsdb.partition_column = 'time',
    tsdb.chunk_interval = '1 day',
    tsdb.create_default_indexes = false,
    tsdb.segmentby = 'tag_id',
    tsdb.orderby = 'time desc'
);
CREATE UNIQUE INDEX readings_tag_id_time_idx ON readings (tag_id, time DESC);
CREATE INDEX readings_time_idx ON readings USING brin (time) WITH (pages_per_range = 32);

CREATE FUNCTION ensure_readings_partitions(days date[] DEFAULT NULL) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$ SELECT 0 $$;
COMMENT ON FUNCTION ensure_readings_partitions IS 'Nothing to do on TimescaleDB: the insert makes the chunk.';
REVOKE ALL ON FUNCTION ensure_readings_partitions FROM PUBLIC;
