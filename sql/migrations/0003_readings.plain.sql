-- PLACEHOLDER of the contract, written out by the owner of sql/: the plain-PostgreSQL engine.
CREATE TABLE readings (
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL,
    value   double precision NOT NULL,
    quality smallint NOT NULL CHECK (quality BETWEEN 0 AND 2),
    status  integer NOT NULL DEFAULT 0
) PARTITION BY RANGE (time);
CREATE UNIQUE INDEX readings_tag_id_time_idx ON readings (tag_id, time DESC);
