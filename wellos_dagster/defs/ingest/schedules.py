"""When the books are audited."""

import dagster as dg

from wellos.ingest_status import readings_count
from wellos_dagster.resources import Warm

__all__ = ["INGEST_JOBS", "INGEST_SCHEDULES"]

SMALL = 200_000_000
"""Readings up to which an hourly audit is cheap; with more, it is done once a day."""
DAILY_HOUR = 1

audit_job = dg.define_asset_job(
    "audit",
    selection=dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("readings"), "accounting")),
    description="Checks that every reading ever received is accounted for.",
)


@dg.schedule(
    job=audit_job,
    cron_schedule="15 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=f"Every hour; above {SMALL:,} readings, at {DAILY_HOUR:02}:15 UTC.",
)
def hourly_audit(context: dg.ScheduleEvaluationContext, warm: Warm) -> dg.RunRequest | dg.SkipReason:
    """Skip the hours of a day when there is much to count."""
    if context.scheduled_execution_time.hour != DAILY_HOUR:
        with warm.connect() as conn:
            readings = readings_count(conn)
        if readings > SMALL:
            return dg.SkipReason(f"{readings:,} readings: audited at {DAILY_HOUR:02}:15 UTC alone")
    return dg.RunRequest()


INGEST_JOBS = [audit_job]
INGEST_SCHEDULES = [hourly_audit]
