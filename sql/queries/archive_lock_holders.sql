-- The sessions that hold an advisory lock of two keys.
SELECT format('%%s, process %%s%%s', coalesce(nullif(a.application_name, ''), 'a session'), l.pid,
              coalesce(' from ' || a.client_addr::text, ''))
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a USING (pid)
WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND l.classid = (%(key)s::bigint & 4294967295)::oid AND l.objid = (%(part)s::bigint & 4294967295)::oid
ORDER BY 1
