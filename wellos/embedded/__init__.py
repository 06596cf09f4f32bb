"""The embedded stack: PostgreSQL, Redis, MQTT broker, field simulator and Dagster as children of one supervisor."""
