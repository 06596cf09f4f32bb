"""Registers the shared fixtures, one file a concern, and how hypothesis looks for examples."""

from hypothesis import HealthCheck, settings

pytest_plugins = [
    "tests.fix_bigquery",
    "tests.fix_db",
    "tests.fix_field",
    "tests.fix_mqtt",
    "tests.fix_postgres",
    "tests.fix_redis",
    "tests.fix_tiering",
]

# A busy machine is slow, not wrong: what a rule costs is for benchmarks to say. What fails says how to repeat it.
settings.register_profile("wellos", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("wellos")
