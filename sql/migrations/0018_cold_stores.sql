-- Which folder is this database's archive: one that is missing, or another's, is never taken for an empty one.

CREATE TABLE cold_stores (
    store         text PRIMARY KEY CHECK (store IN ('parquet', 'bigquery')),
    id            uuid NOT NULL DEFAULT gen_random_uuid(),
    first_used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE cold_stores IS 'The cold stores that were ever written to by this platform.';
COMMENT ON COLUMN cold_stores.id IS 'stands in the marker file of the archive''s folder as well';
