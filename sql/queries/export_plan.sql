-- For this transaction: in the order of the index whatever the statistics say, never a sort of the day. A parallel
-- aggregate would lose the order.
SELECT set_config(name, value, true)
FROM (VALUES ('enable_sort', 'off'), ('enable_seqscan', 'off'), ('enable_bitmapscan', 'off'),
             ('max_parallel_workers_per_gather', '0')) AS settings (name, value)
