"""When aggregates are looked after: every five minutes whatever is due, and once a day the day before."""

from datetime import timedelta

import dagster as dg

from wellos.aggregates import WIDTHS
from wellos_dagster.partitions import START
from wellos_dagster.resources import PlatformClock

__all__ = ["AGGREGATE_JOBS", "AGGREGATE_SCHEDULES"]

_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]

refresh_check_job = dg.define_asset_job(
    "refresh_check",
    selection=dg.AssetSelection.assets("registry", "ingest_health", "aggregate_status")
    | dg.AssetSelection.checks_for_assets("readings", "field_entries", *WIDTHS)
    - dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("readings"), "accounting")),
    description="Refreshes the aggregates that are due, then runs the checks of readings and aggregates.",
)

daily_aggregates_job = dg.define_asset_job(
    "daily_aggregates",
    selection=dg.AssetSelection.assets(*WIDTHS),
    description="Refreshes the aggregates of a day, with their checks.",
)


@dg.schedule(
    job=refresh_check_job,
    cron_schedule="*/5 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every five minutes: refresh what is due, look at ingest, run the checks.",
)
def refresh_check(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """One at a time: behind a long refresh, the next would only wait to do nothing."""
    unfinished = dg.RunsFilter(job_name=refresh_check_job.name, statuses=_UNFINISHED)
    if context.instance.get_runs(unfinished, limit=1):
        return dg.SkipReason("the last one is not done yet")
    return dg.RunRequest()


@dg.schedule(
    job=daily_aggregates_job,
    cron_schedule="20 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 00:20 UTC: yesterday, by the platform's clock.",
)
def daily_aggregates(clock: PlatformClock) -> dg.RunRequest | dg.SkipReason:
    """Twenty minutes after midnight, so that what came late by the usual few minutes is in."""
    yesterday = clock.now().date() - timedelta(days=1)
    if yesterday < START:
        return dg.SkipReason(f"{yesterday} is before the first partition, {START}")
    return dg.RunRequest(partition_key=yesterday.isoformat(), run_key=yesterday.isoformat())


AGGREGATE_JOBS = [refresh_check_job, daily_aggregates_job]
AGGREGATE_SCHEDULES = [refresh_check, daily_aggregates]
