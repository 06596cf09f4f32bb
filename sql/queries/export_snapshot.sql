-- What this transaction sees, in three forms: to compare with changes, of which cluster, to be taken over by another.
SELECT pg_current_snapshot()::text, database_cluster(), pg_export_snapshot()
