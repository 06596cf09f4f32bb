-- What the server is: PostgreSQL's version, TimescaleDB's version and licence in this database, and whether the
-- extension could be created in it: its files are there, and its loader, which brings this setting, is in the server.
SELECT current_setting('server_version_num')::integer,
       (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
           AND current_setting('timescaledb.max_background_workers', true) IS NOT NULL;
