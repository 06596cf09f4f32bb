-- Removes the buckets of aggregates that are older than they are to be kept.
SELECT relation, buckets FROM drop_old_aggregates(make_interval(days => %(days)s), %(now)s)
