-- The statements of this database that took longest on average, of those worth a look, by pg_stat_statements.
SELECT left(regexp_replace(query, '\s+', ' ', 'g'), 200) AS query,
       calls,
       mean_exec_time / 1000                             AS mean_s,
       max_exec_time / 1000                              AS max_s
FROM pg_stat_statements
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mean_exec_time >= 1000 * %(least_s)s
ORDER BY total_exec_time DESC
LIMIT 10
