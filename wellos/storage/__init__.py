"""Hot (Redis), warm (PostgreSQL) and, later, cold storage."""
