-- Whether what somebody stored beside ingest is of the last hours, of which Redis then may lack some.

ALTER TABLE ingest_ledger ADD COLUMN newest_day date;
COMMENT ON COLUMN ingest_ledger.newest_day IS 'the last UTC day of which its transaction stored readings; null: of none';
