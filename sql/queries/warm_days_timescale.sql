-- The chunks of `readings`, a UTC day each. Rows of a compressed one are those it had when it was compressed, of others
-- the statistics'.
SELECT (k.range_start AT TIME ZONE 'UTC')::date                                            AS day,
       k.chunk_name::text                                                                 AS relation,
       CASE WHEN k.is_compressed THEN s.numrows_pre_compression
            ELSE coalesce(nullif(pg_stat_get_live_tuples(c.oid), 0), greatest(c.reltuples, 0)) END::bigint AS rows,
       CASE WHEN k.is_compressed THEN 0 ELSE pg_stat_get_dead_tuples(c.oid) END           AS dead_rows,
       z.total_bytes                                                                      AS bytes,
       z.index_bytes                                                                      AS index_bytes,
       k.is_compressed                                                                    AS compressed,
       s.uncompressed_heap_size + s.uncompressed_index_size + s.uncompressed_toast_size   AS before_bytes,
       s.compressed_heap_size + s.compressed_index_size + s.compressed_toast_size         AS after_bytes
FROM timescaledb_information.chunks AS k
JOIN chunks_detailed_size('public.readings') AS z USING (chunk_schema, chunk_name)
JOIN pg_class AS c ON c.oid = format('%I.%I', k.chunk_schema, k.chunk_name)::regclass
JOIN _timescaledb_catalog.chunk AS t ON (t.schema_name, t.table_name) = (k.chunk_schema, k.chunk_name)
LEFT JOIN _timescaledb_catalog.compression_chunk_size AS s ON s.chunk_id = t.id AND k.is_compressed
WHERE k.hypertable_schema = 'public' AND k.hypertable_name = 'readings'
ORDER BY day
