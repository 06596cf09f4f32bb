-- What ingest received, what became of it, and what never came.

CREATE TABLE ingest_ledger (
    spool_id      uuid NOT NULL,
    seq           bigint NOT NULL,
    connection_id integer NOT NULL,
    received      integer NOT NULL,
    quarantined   integer NOT NULL,
    duplicates    integer NOT NULL,
    shed          integer NOT NULL,
    rows          integer NOT NULL,
    stored        integer NOT NULL,
    repeated      integer NOT NULL DEFAULT 0,
    replaced      integer NOT NULL DEFAULT 0,
    superseded    integer NOT NULL DEFAULT 0,
    poisoned      integer NOT NULL DEFAULT 0,
    received_at   timestamptz NOT NULL,
    committed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (spool_id, seq),
    CHECK (received = quarantined + duplicates + shed + rows),
    CHECK (rows = stored + repeated + replaced + superseded + poisoned)
);
COMMENT ON TABLE ingest_ledger IS 'One row a committed spool frame, written in the transaction that stored its readings.';
COMMENT ON COLUMN ingest_ledger.stored IS 'rows inserted under a new (tag, time)';
COMMENT ON COLUMN ingest_ledger.repeated IS 'rows equal to what was stored already: dropped';
COMMENT ON COLUMN ingest_ledger.replaced IS 'rows that replaced a stored value of the same (tag, time); the old one is in reading_revisions';
COMMENT ON COLUMN ingest_ledger.superseded IS 'rows that lost to a better stored value of the same (tag, time); kept in reading_revisions';
COMMENT ON COLUMN ingest_ledger.poisoned IS 'rows the database refused; kept in quarantine';

CREATE TABLE quarantine (
    quarantine_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    spool_id      uuid NOT NULL,
    seq           bigint NOT NULL,
    ordinal       integer NOT NULL,
    connection_id integer NOT NULL,
    reason        text NOT NULL,
    detail        text NOT NULL,
    source        text NOT NULL,
    original      bytea NOT NULL,
    received_at   timestamptz NOT NULL,
    UNIQUE (spool_id, seq, ordinal)
);

CREATE TABLE ingest_gaps (
    gap_id        bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    spool_id      uuid NOT NULL,
    seq           bigint NOT NULL,
    connection_id integer NOT NULL,
    tag_id        integer,
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz NOT NULL,
    reason        text NOT NULL,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at     timestamptz,
    CHECK (started_at <= ended_at)
);
CREATE INDEX ON ingest_gaps (connection_id, started_at);

CREATE TABLE reading_revisions (
    time        timestamptz NOT NULL,
    tag_id      integer NOT NULL,
    value       double precision NOT NULL,
    quality     smallint NOT NULL,
    status      integer NOT NULL,
    outcome     text NOT NULL CHECK (outcome IN ('replaced', 'superseded')),
    spool_id    uuid NOT NULL,
    seq         bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE reading_revisions IS 'The values that lost when two different ones came for one (tag, time).';
CREATE INDEX ON reading_revisions (tag_id, time);

CREATE TABLE ingest_instances (
    spool_id            uuid PRIMARY KEY,
    hostname            text NOT NULL,
    pid                 integer NOT NULL,
    started_at          timestamptz NOT NULL,
    heartbeat_at        timestamptz NOT NULL,
    oldest_spooled_time timestamptz,
    spool_rows          bigint NOT NULL DEFAULT 0,
    spool_bytes         bigint NOT NULL DEFAULT 0,
    spool_seconds_left  double precision,
    stopped_at          timestamptz
);
COMMENT ON COLUMN ingest_instances.oldest_spooled_time IS 'oldest source time received but not yet stored; null when none';

CREATE TABLE ingest_connections (
    connection_id   integer PRIMARY KEY REFERENCES scada_connections,
    spool_id        uuid NOT NULL,
    state           text NOT NULL,
    since           timestamptz NOT NULL,
    last_reading_at timestamptz,
    error           text NOT NULL DEFAULT '',
    loss_window     text NOT NULL,
    readings_total  bigint NOT NULL DEFAULT 0,
    readings_per_s  double precision NOT NULL DEFAULT 0,
    updated_at      timestamptz NOT NULL
);
