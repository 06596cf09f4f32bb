-- What has been running in this database for a while now.
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 200)             AS query,
       1::bigint                                                     AS calls,
       extract(epoch FROM clock_timestamp() - query_start)::float8   AS mean_s,
       extract(epoch FROM clock_timestamp() - query_start)::float8   AS max_s
FROM pg_stat_activity
WHERE datname = current_database()
  AND backend_type = 'client backend'
  AND state = 'active'
  AND pid <> pg_backend_pid()
  AND query_start < clock_timestamp() - make_interval(secs => %(least_s)s)
ORDER BY mean_s DESC
LIMIT 10
