"""The daily partitions, in UTC, that every asset of readings shares; and those by day and tenant of the archive."""

import dagster as dg

from sensors.tenants import TENANTS
from wellos.settings import load_settings

__all__ = ["DAILY", "START", "TENANT_DAYS"]

START = load_settings().partitions_start
"""A constant: a start that moved with the calendar would change the partitions under a running backfill."""

DAILY = dg.DailyPartitionsDefinition(start_date=START.isoformat(), timezone="UTC", end_offset=1)
"""`end_offset=1`: today has its partition, as ingest reports every closed hour of it."""

TENANT_DAYS = dg.MultiPartitionsDefinition({"date": DAILY, "tenant": TENANTS})
"""A key is `DAY|TENANT`."""
