-- What becomes of a day of readings: watched from its end, archived with a receipt a tenant, dropped, restored.
--
-- A day is watched before anything is concluded from its readings. From then on every transaction that changes readings
-- of it says so in `reading_changes`, so whoever keeps the snapshot in which he read the day knows whether it changed
-- since: a change that is not visible in that snapshot came later. `watch_days` waits for the writers that did not know.

CREATE TABLE reading_days (
    day         date PRIMARY KEY,
    watched_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at  timestamptz,
    dropped_at  timestamptz,
    restored_at timestamptz,
    keep_until  timestamptz
);
COMMENT ON TABLE reading_days IS 'The UTC days whose changes are noted, and whether their readings are still in the warm tier.';
COMMENT ON COLUMN reading_days.settled_at IS 'since then every change is noted; null while writers that may not know of the watch are at it';
COMMENT ON COLUMN reading_days.dropped_at IS 'not null: its readings are in the cold tier, and what `readings` holds of it came since (the overlay)';
COMMENT ON COLUMN reading_days.restored_at IS 'when its readings were last brought back; dropped_at is null then';
COMMENT ON COLUMN reading_days.keep_until IS 'a restored day is not dropped again before';

CREATE TABLE reading_changes (
    change_id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    day       date NOT NULL,
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    noted_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE reading_changes IS 'One row a watched day and transaction that changed readings of it.';
CREATE INDEX ON reading_changes (day);

-- Called by every writer, in its transaction, after the readings. A snapshot older than the statement may not show
-- that a day is watched: then every day is noted.
CREATE FUNCTION note_readings_changed(days date[]) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    INSERT INTO reading_changes (day)
    SELECT d FROM unnest(days) AS d
    WHERE current_setting('transaction_isolation') <> 'read committed'
       OR EXISTS (SELECT FROM reading_days AS w WHERE w.day = d)
$$;
COMMENT ON FUNCTION note_readings_changed IS 'Notes that this transaction changed readings of these UTC days, of those that are watched.';

-- Transactions that have written readings and are not done.
CREATE FUNCTION readings_writers() RETURNS text[]
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    SELECT coalesce(array_agg(DISTINCT virtualtransaction), '{}') FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'readings'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
$$;

CREATE PROCEDURE watch_days(days date[], patience interval DEFAULT '60 seconds')
LANGUAGE plpgsql AS $$
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + patience;
    before   text[];
BEGIN
    INSERT INTO public.reading_days (day) SELECT DISTINCT d FROM unnest(days) AS d ON CONFLICT DO NOTHING;
    COMMIT;
    IF NOT EXISTS (SELECT FROM public.reading_days WHERE day = ANY (days) AND settled_at IS NULL) THEN
        RETURN;
    END IF;
    before := public.readings_writers();
    WHILE before && public.readings_writers() LOOP
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'a transaction has been writing readings for %', patience
                USING HINT = 'See pg_stat_activity; end it, or try again later', ERRCODE = 'lock_not_available';
        END IF;
        COMMIT;
        PERFORM pg_sleep(0.05);
    END LOOP;
    UPDATE public.reading_days SET settled_at = clock_timestamp() WHERE day = ANY (days) AND settled_at IS NULL;
    COMMIT;
END $$;
COMMENT ON PROCEDURE watch_days IS
    'From its return on, every change of readings of these UTC days is noted in reading_changes. Not inside a transaction.';

CREATE TABLE archive_manifest (
    receipt_id     bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant_id      uuid NOT NULL REFERENCES tenants,
    day            date NOT NULL REFERENCES reading_days,
    store          text NOT NULL CHECK (store IN ('parquet', 'bigquery')),
    state          text NOT NULL CHECK (state IN ('writing', 'verified', 'replaced', 'quarantined', 'abandoned')),
    rows           bigint,
    checksum_a     bigint,
    checksum_b     bigint,
    connections    jsonb,
    first_time     timestamptz,
    last_time      timestamptz,
    bytes          bigint,
    location       text,
    file_sha256    text,
    job_id         text,
    schema_version smallint NOT NULL DEFAULT 1,
    snapshot       pg_snapshot,
    cluster        text,
    watermark      timestamptz,
    started_at     timestamptz NOT NULL,
    verified_at    timestamptz,
    duration_s     double precision,
    detail         text NOT NULL DEFAULT '',
    CHECK (state <> 'verified' OR num_nulls(rows, checksum_a, checksum_b, connections, bytes, location, snapshot, cluster,
                                            watermark, verified_at, duration_s) = 0)
);
COMMENT ON TABLE archive_manifest IS 'Receipts: one row an attempt to archive a tenant''s day. Never deleted.';
COMMENT ON COLUMN archive_manifest.state IS
    'writing: under way, or cut off; verified: the cold copy equals the snapshot, value by value; replaced: a newer receipt is verified; quarantined: the copy differed and was put aside; abandoned: cut off or failed before it was a copy';
COMMENT ON COLUMN archive_manifest.connections IS 'rows by connection_id';
COMMENT ON COLUMN archive_manifest.snapshot IS 'what the export saw: a change of the day that is not visible in it came later';
COMMENT ON COLUMN archive_manifest.cluster IS 'the database cluster whose transactions the snapshot counts';
COMMENT ON COLUMN archive_manifest.watermark IS 'when the snapshot was taken';
CREATE UNIQUE INDEX archive_manifest_verified ON archive_manifest (tenant_id, day, store) WHERE state = 'verified';
CREATE INDEX ON archive_manifest (day);

CREATE FUNCTION database_cluster() RETURNS text
LANGUAGE sql STABLE AS $$ SELECT system_identifier::text FROM pg_control_system() $$;

-- The receipt in force of every tenant's day and store, and whether the day changed since.
CREATE VIEW archive_receipts AS
SELECT t.slug AS tenant, m.tenant_id, m.day, m.store, m.receipt_id, m.rows, m.checksum_a, m.checksum_b, m.connections,
       m.first_time, m.last_time, m.bytes, m.location, m.file_sha256, m.job_id, m.schema_version, m.watermark,
       m.verified_at, m.duration_s, d.dropped_at, d.restored_at, d.keep_until,
       (m.cluster <> database_cluster()
        OR EXISTS (SELECT FROM reading_changes AS c
                   WHERE c.day = m.day AND NOT pg_visible_in_snapshot(c.xid, m.snapshot))) AS stale
FROM archive_manifest AS m
JOIN tenants AS t USING (tenant_id)
JOIN reading_days AS d USING (day)
WHERE m.state = 'verified';
COMMENT ON VIEW archive_receipts IS 'What is proven to be in the cold tier. stale: readings of the day changed after the snapshot.';
