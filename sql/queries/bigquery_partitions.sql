-- BigQuery: partitions of the archive and of the days without readings, from its own books.
SELECT table_name, partition_id, total_rows, total_logical_bytes
FROM `{project}`.{dataset}.INFORMATION_SCHEMA.PARTITIONS
WHERE table_name IN ('readings', 'readings_empty_days') AND partition_id BETWEEN @first AND @last
