-- One applied migration: version, name, engine, checksum.
INSERT INTO schema_migrations (version, name, engine, checksum) VALUES (%s, %s, %s, %s);
