"""The Dagster code location: assets and checks that call the library."""
