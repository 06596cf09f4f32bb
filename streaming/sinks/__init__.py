"""Where readings go from the spool: PostgreSQL and Redis."""
