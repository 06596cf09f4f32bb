"""The WellOS data platform: the library that ingest, Dagster and the command line share."""
