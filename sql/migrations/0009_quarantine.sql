-- What a person has done about a quarantined item. Its row stays, so that the books still balance.

ALTER TABLE quarantine
    ADD COLUMN resolved_at timestamptz,
    ADD COLUMN resolution text CHECK (resolution IN ('retried', 'deleted')),
    ADD COLUMN resolved_by text,
    ADD COLUMN resolution_detail text,
    ADD CONSTRAINT quarantine_resolved CHECK (num_nulls(resolved_at, resolution, resolved_by, resolution_detail) IN (0, 4)),
    ALTER COLUMN original DROP NOT NULL,
    ADD CONSTRAINT quarantine_original CHECK (original IS NOT NULL OR resolution = 'deleted');
COMMENT ON COLUMN quarantine.resolved_at IS 'null: nobody has done anything about it';
COMMENT ON COLUMN quarantine.resolution IS 'retried: it is stored now; deleted: its original is gone';
COMMENT ON COLUMN quarantine.resolved_by IS 'user of the operating system';
COMMENT ON COLUMN quarantine.resolution_detail IS 'what became of a retried one, in the words of the ledger; why it was deleted';
CREATE INDEX quarantine_unresolved ON quarantine (connection_id, received_at) WHERE resolved_at IS NULL;

COMMENT ON TABLE ingest_ledger IS
    'One row a committed spool frame, written in the transaction that stored its readings. Spool 3d1c6a52-50a4-5c1e-9c0f-2f6f7e1b7a90 is the retries from quarantine: nothing received, so much less quarantined or poisoned, so much more stored.';
