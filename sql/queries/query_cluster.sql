-- The cluster and its timeline, which a recovery to an earlier point changes, and the database.
SELECT concat_ws('.', database_cluster(), timeline_id, (SELECT oid FROM pg_database WHERE datname = current_database()))
FROM pg_control_checkpoint()
