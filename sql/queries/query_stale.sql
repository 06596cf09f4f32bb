-- Where an aggregate does not show yet what changed.
SELECT lower(span), upper(span) FROM aggregate_stale(%(relation)s, %(start)s, %(end)s) AS span
