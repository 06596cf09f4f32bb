-- Bytes of the stored aggregates.
SELECT coalesce(sum(pg_total_relation_size(format('%I', relation || '_materialised')::regclass)), 0)::bigint
FROM aggregate_levels
