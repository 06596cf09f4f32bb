-- Transactions are counted by each database cluster for itself: a change says of which one its number is.
--
-- A dump takes changes into another cluster. There the number of one says nothing of what a snapshot has seen, and may be
-- far ahead of the counter: such a change was in no snapshot for years. What came along is given a number of this cluster
-- when its day is next watched, which is before anything is concluded from it: snapshots from then on have seen it.

-- The default is computed for rows that are noted, which are those of watched days: some microseconds each.
ALTER TABLE reading_changes ADD COLUMN cluster text NOT NULL DEFAULT database_cluster();
COMMENT ON COLUMN reading_changes.xid IS 'the transaction, or the one that took over a change of another cluster';
COMMENT ON COLUMN reading_changes.cluster IS 'the database cluster that counted xid';

CREATE OR REPLACE VIEW archive_receipts AS
SELECT t.slug AS tenant, m.tenant_id, m.day, m.store, m.receipt_id, m.rows, m.checksum_a, m.checksum_b, m.connections,
       m.first_time, m.last_time, m.bytes, m.location, m.file_sha256, m.job_id, m.schema_version, m.watermark,
       m.verified_at, m.duration_s, d.dropped_at, d.restored_at, d.keep_until,
       (m.cluster <> (SELECT database_cluster())
        OR EXISTS (SELECT FROM reading_changes AS c
                   WHERE c.day = m.day
                     AND (c.cluster <> m.cluster OR NOT pg_visible_in_snapshot(c.xid, m.snapshot)))) AS stale
FROM archive_manifest AS m
JOIN tenants AS t USING (tenant_id)
JOIN reading_days AS d USING (day)
WHERE m.state = 'verified';

-- What we see was committed before our snapshot: a number that is not in it is of another cluster whatever is written
-- beside it, as of changes that came along before there was a name.
CREATE FUNCTION reading_changes_from_elsewhere(days date[]) RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = public, pg_temp AS $$
    SELECT change_id FROM reading_changes
    WHERE day = ANY (days)
      AND (cluster <> (SELECT database_cluster()) OR NOT pg_visible_in_snapshot(xid, pg_current_snapshot()))
$$;
COMMENT ON FUNCTION reading_changes_from_elsewhere IS
    'Changes of these UTC days that were noted in another database cluster. Not after a note in the same transaction.';

CREATE OR REPLACE PROCEDURE watch_days(days date[], patience interval DEFAULT '60 seconds')
LANGUAGE plpgsql AS $$
DECLARE
    deadline CONSTANT timestamptz := clock_timestamp() + patience;
    before   text[];
BEGIN
    INSERT INTO public.reading_days (day) SELECT DISTINCT d FROM unnest(days) AS d ON CONFLICT DO NOTHING;
    COMMIT;
    IF EXISTS (SELECT FROM public.reading_changes_from_elsewhere(days)) THEN
        -- one after the other: taken over twice, a change would come after a snapshot that has seen it
        PERFORM pg_advisory_xact_lock(hashtext('reading_changes_from_elsewhere'));
        UPDATE public.reading_changes SET xid = DEFAULT, cluster = DEFAULT
        WHERE change_id IN (SELECT public.reading_changes_from_elsewhere(days));
        COMMIT;
    END IF;
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
