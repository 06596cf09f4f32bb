-- Whether pg_stat_statements can be read here: installed in this database, and loaded by the server.
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements')
   AND current_setting('pg_stat_statements.max', true) IS NOT NULL
