-- Which ingest instance reads which connection, by the database's clock alone, and the history that tells a stale owner.

CREATE TABLE ingest_members (
    spool_id        uuid PRIMARY KEY,
    max_connections integer CHECK (max_connections >= 1),
    expires_at      timestamptz NOT NULL
);
COMMENT ON TABLE ingest_members IS 'Ingest instances that share the connections among them; alive until expires_at.';
COMMENT ON COLUMN ingest_members.max_connections IS 'null: as many as there are';

CREATE TABLE ingest_leases (
    connection_id integer PRIMARY KEY REFERENCES scada_connections,
    spool_id      uuid NOT NULL,
    term          bigint NOT NULL CHECK (term >= 1),
    claimed_at    timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    released      boolean NOT NULL DEFAULT false,
    heard_us      bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE ingest_leases IS 'The last owner of each connection; it reads while expires_at is ahead, or nobody else has claimed.';
COMMENT ON COLUMN ingest_leases.term IS 'counts the changes of owner; frames carry it modulo 65535, from 1';
COMMENT ON COLUMN ingest_leases.released IS 'given up in good order: nobody need wait for its owner to come back';
COMMENT ON COLUMN ingest_leases.heard_us IS 'when the peer was last heard, microseconds of platform time: where the next owner''s gap begins';

CREATE TABLE ingest_lease_terms (
    connection_id  integer NOT NULL REFERENCES scada_connections,
    term           bigint NOT NULL,
    spool_id       uuid NOT NULL,
    claimed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    valid_until_us bigint NOT NULL,
    PRIMARY KEY (connection_id, term)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ingest_lease_terms.valid_until_us IS
    'by the owner''s own platform clock: what it received later, after another has claimed, is fenced';

COMMENT ON COLUMN ingest_ledger.poisoned IS 'rows the database refused, or of a stale owner''s frame (fenced); kept in quarantine';

ALTER TABLE ingest_instances ADD COLUMN forgotten_at timestamptz, ADD COLUMN forgotten_rows bigint;
COMMENT ON COLUMN ingest_instances.forgotten_at IS 'when a person said that it is gone for good';
COMMENT ON COLUMN ingest_instances.forgotten_rows IS 'readings its spool held by its last heartbeat before that: lost with it';
