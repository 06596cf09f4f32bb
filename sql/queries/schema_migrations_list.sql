-- What was applied, oldest first.
SELECT version, name, engine, checksum, applied_at FROM public.schema_migrations ORDER BY version;
