-- The ledger of migrations: what was applied to this database, by which engine, and what the files said then.
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY CHECK (version > 0),
    name       text NOT NULL,
    engine     text NOT NULL CHECK (engine IN ('neutral', 'plain', 'timescale')),
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
