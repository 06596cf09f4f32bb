-- How many readings there are, from the daily aggregate: counting them would read them all.
SELECT coalesce(sum(n), 0)::bigint AS readings FROM readings_1day
