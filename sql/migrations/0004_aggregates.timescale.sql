-- Aggregates on TimescaleDB: hierarchical continuous aggregates with their real-time part.

CREATE MATERIALIZED VIEW readings_1min
WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = true) AS
SELECT time_bucket('1 minute', time) AS bucket,
       tag_id,
       count(*) AS n,
       count(*) FILTER (WHERE quality = 2) AS n_good,
       count(*) FILTER (WHERE quality = 1) AS n_uncertain,
       count(*) FILTER (WHERE quality = 0) AS n_bad,
       sum(value) FILTER (WHERE quality = 2) AS sum,
       sum(CASE WHEN abs(value) > '1e-150' THEN value * value ELSE 0 END) FILTER (WHERE quality = 2) AS sum_sq,
       min(value) FILTER (WHERE quality = 2) AS min,
       max(value) FILTER (WHERE quality = 2) AS max,
       first(value, time) FILTER (WHERE quality = 2) AS first,
       last(value, time) FILTER (WHERE quality = 2) AS last
FROM readings
GROUP BY 1, 2
WITH NO DATA;

CREATE MATERIALIZED VIEW readings_5min
WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = true) AS
SELECT time_bucket('5 minutes', bucket) AS bucket,
       tag_id,
       sum(n)::bigint AS n,
       sum(n_good)::bigint AS n_good,
       sum(n_uncertain)::bigint AS n_uncertain,
       sum(n_bad)::bigint AS n_bad,
       sum(sum) AS sum,
       sum(sum_sq) AS sum_sq,
       min(min) AS min,
       max(max) AS max,
       first(first, bucket) FILTER (WHERE n_good > 0) AS first,
       last(last, bucket) FILTER (WHERE n_good > 0) AS last
FROM readings_1min
GROUP BY 1, 2
WITH NO DATA;

CREATE MATERIALIZED VIEW readings_1hour
WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = true) AS
SELECT time_bucket('1 hour', bucket) AS bucket,
       tag_id,
       sum(n)::bigint AS n,
       sum(n_good)::bigint AS n_good,
       sum(n_uncertain)::bigint AS n_uncertain,
       sum(n_bad)::bigint AS n_bad,
       sum(sum) AS sum,
       sum(sum_sq) AS sum_sq,
       min(min) AS min,
       max(max) AS max,
       first(first, bucket) FILTER (WHERE n_good > 0) AS first,
       last(last, bucket) FILTER (WHERE n_good > 0) AS last
FROM readings_5min
GROUP BY 1, 2
WITH NO DATA;

CREATE MATERIALIZED VIEW readings_1day
WITH (timescaledb.continuous, timescaledb.materialized_only = false, timescaledb.create_group_indexes = true) AS
SELECT time_bucket('1 day', bucket) AS bucket,
       tag_id,
       sum(n)::bigint AS n,
       sum(n_good)::bigint AS n_good,
       sum(n_uncertain)::bigint AS n_uncertain,
       sum(n_bad)::bigint AS n_bad,
       sum(sum) AS sum,
       sum(sum_sq) AS sum_sq,
       min(min) AS min,
       max(max) AS max,
       first(first, bucket) FILTER (WHERE n_good > 0) AS first,
       last(last, bucket) FILTER (WHERE n_good > 0) AS last
FROM readings_1hour
GROUP BY 1, 2
WITH NO DATA;
