"""The tiers a reading lives in: hot (Redis) and warm (PostgreSQL), and the SQL files they use."""
