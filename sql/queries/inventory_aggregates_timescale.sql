-- Bytes of the continuous aggregates.
SELECT coalesce(sum(hypertable_size(format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)::regclass)), 0)::bigint
FROM timescaledb_information.continuous_aggregates
