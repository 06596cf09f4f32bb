"""Registers the shared fixtures: one file a concern."""

pytest_plugins = [
    "tests.fix_db",
    "tests.fix_field",
    "tests.fix_mqtt",
    "tests.fix_postgres",
    "tests.fix_redis",
]
