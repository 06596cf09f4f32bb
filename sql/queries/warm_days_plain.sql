-- The partitions of `readings`: a UTC day each, and the one that takes what has none. Rows are the statistics'.
SELECT to_date(substr(nullif(c.relname, 'readings_default'), 10), 'YYYYMMDD')                   AS day,
       c.relname::text                                                                         AS relation,
       coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), greatest(c.reltuples, 0))::bigint   AS rows,
       pg_stat_get_dead_tuples(c.oid)                                                          AS dead_rows,
       pg_total_relation_size(c.oid)                                                           AS bytes,
       pg_indexes_size(c.oid)                                                                  AS index_bytes,
       false                                                                                   AS compressed,
       NULL::bigint                                                                            AS before_bytes,
       NULL::bigint                                                                            AS after_bytes
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'readings'::regclass
  AND (c.relname ~ '^readings_[0-9]{8}$' OR c.relname = 'readings_default')
ORDER BY day NULLS LAST
