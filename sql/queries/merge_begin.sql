-- Several statements in one message. The look-up is a walk down the index for each key, whatever the planner thinks of
-- tables without statistics: a compiled plan, a cache of keys or a scan of the day cost more than they save.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ;
SET LOCAL jit = off;
SET LOCAL enable_memoize = off;
SET LOCAL enable_hashjoin = off;
SET LOCAL enable_mergejoin = off;
SET LOCAL enable_seqscan = off;
SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0;
CREATE TEMPORARY TABLE IF NOT EXISTS merge_keys (
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL
) ON COMMIT DELETE ROWS;
CREATE TEMPORARY TABLE IF NOT EXISTS merge_winners (
    time    timestamptz NOT NULL,
    tag_id  integer NOT NULL,
    value   double precision NOT NULL,
    quality smallint NOT NULL,
    status  integer NOT NULL
) ON COMMIT DELETE ROWS
