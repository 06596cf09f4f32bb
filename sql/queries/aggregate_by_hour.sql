-- What an aggregate holds of each hour of a window: its buckets, and the readings in them by quality.
SELECT date_trunc('hour', bucket, 'UTC') AS hour,
       count(*)                          AS buckets,
       sum(n)::bigint                    AS n,
       sum(n_good)::bigint               AS good,
       sum(n_uncertain)::bigint          AS uncertain,
       sum(n_bad)::bigint                AS bad
FROM {relation}
WHERE bucket >= %(start)s AND bucket < %(end)s
GROUP BY 1
ORDER BY 1
