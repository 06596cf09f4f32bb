-- Findings that last, one row an episode. They never change a stored value or quality.

CREATE TABLE quality_events (
    event_id      bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id     uuid NOT NULL REFERENCES tenants,
    well_id       integer,
    connection_id integer,
    tag_id        integer,
    check_name    text NOT NULL,
    severity      text NOT NULL CHECK (severity IN ('INFO', 'WARN', 'ERROR')),
    started_at    timestamptz NOT NULL,
    ended_at      timestamptz,
    evidence      jsonb NOT NULL DEFAULT '{}',
    spool_id      uuid,
    seq           bigint,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    UNIQUE NULLS NOT DISTINCT (connection_id, tag_id, check_name, started_at, well_id, tenant_id),
    CHECK (started_at <= ended_at)
);
COMMENT ON COLUMN quality_events.ended_at IS 'null: it goes on';
COMMENT ON COLUMN quality_events.evidence IS 'what a person judges it by: limit, worst value, count, score';
COMMENT ON COLUMN quality_events.spool_id IS 'with seq, the spool frame that said so last; null for what Dagster found';
CREATE INDEX ON quality_events (tenant_id, started_at);
CREATE INDEX ON quality_events (tag_id, started_at);
CREATE INDEX ON quality_events (check_name) WHERE ended_at IS NULL;
