-- Indexes that no query has used since statistics are kept and that no constraint needs. Those of partitions and chunks
-- count as one: the table's own.
SELECT coalesce(parent.relname, s.relname)::text                                           AS relation,
       regexp_replace(coalesce(pi.relname, s.indexrelname)::text, '^_hyper_\d+_\d+_chunk_', '') AS index,
       sum(pg_relation_size(s.indexrelid))::bigint                                         AS bytes
FROM pg_stat_user_indexes AS s
JOIN pg_index AS x USING (indexrelid)
LEFT JOIN pg_inherits AS of_table ON of_table.inhrelid = s.relid
LEFT JOIN pg_class AS parent ON parent.oid = of_table.inhparent
LEFT JOIN pg_inherits AS of_index ON of_index.inhrelid = s.indexrelid
LEFT JOIN pg_class AS pi ON pi.oid = of_index.inhparent
WHERE NOT x.indisunique
  AND s.schemaname NOT IN ('_timescaledb_catalog', '_timescaledb_config', '_timescaledb_cache')
  AND s.relname !~ '^(compress_hyper_|_compressed_hypertable_|bgw_)'
GROUP BY 1, 2
HAVING sum(s.idx_scan) = 0 AND sum(pg_relation_size(s.indexrelid)) >= %(least_bytes)s
ORDER BY bytes DESC
