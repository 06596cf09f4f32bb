"""When the tiers are looked after."""

import dagster as dg

from sensors.archive_runs import MOST_DAYS, request, stretches
from wellos.settings import load_settings
from wellos.tiers.inventory import store_name
from wellos_dagster.defs.tiering.clean_up import clean_up
from wellos_dagster.defs.tiering.cold_archive import cold_archive, older_days
from wellos_dagster.defs.tiering.cold_tier import cold_tier
from wellos_dagster.defs.tiering.dropped_days import dropped_days, rearchived_days
from wellos_dagster.defs.tiering.health import platform_health
from wellos_dagster.defs.tiering.hot_tier import hot_tier
from wellos_dagster.defs.tiering.inventory import tier_inventory
from wellos_dagster.defs.tiering.warm_tier import warm_tier
from wellos_dagster.partitions import START
from wellos_dagster.resources import Warm

__all__ = ["TIERING_JOBS", "TIERING_SCHEDULES"]

archive_job = dg.define_asset_job(
    "archive",
    selection=dg.AssetSelection.assets(cold_archive),
    description="Archives days of a tenant, and proves each copy.",
)


@dg.schedule(
    job=archive_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description=(
        "At 02:00 UTC: every tenant's day that has been over for `WELLOS_ARCHIVE_AFTER_DAYS` by the platform's clock "
        "and is not archived, or changed since, and the days without readings between them; "
        f"{MOST_DAYS} consecutive days of one tenant a run."
    ),
)
def nightly_archive(context: dg.ScheduleEvaluationContext, warm: Warm) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for what is due; a night's request has its own key, so that what failed is asked for again the next."""
    from wellos.archive.ranges import last_due_day  # noqa: PLC0415 - NumPy, only when it ticks
    from wellos.archive.receipts import pending  # noqa: PLC0415 - same

    settings = load_settings()
    known = set(context.instance.get_dynamic_partitions("tenants"))
    with warm.connect(autocommit=True) as conn:
        last = last_due_day(settings, settings.make_clock())
        found = pending(conn, store_name(settings), last, since=START, gaps=True)
    night = f"{context.scheduled_execution_time:%Y-%m-%d}"
    runs = [
        request(one, run_key=f"{night} {one.tenant} {one.first}..{one.last}", trigger="nightly")
        for one in stretches((one.tenant, one.day) for one in found if one.tenant in known)
    ]
    return runs or dg.SkipReason("all that is due is archived")


older_job = dg.define_asset_job(
    "archive_older_days",
    selection=dg.AssetSelection.assets(older_days),
    description="Archives days before the first partition.",
)

nightly_older = dg.ScheduleDefinition(
    "nightly_archive_of_older_days",
    job=older_job,
    cron_schedule="30 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 02:30 UTC, behind the archive, whose pool it waits for.",
)

drop_job = dg.define_asset_job(
    "drop_days",
    selection=dg.AssetSelection.assets(dropped_days),
    description="Drops days from the warm tier that are past retention and proven to be archived.",
)

nightly_drop = dg.ScheduleDefinition(
    "nightly_drop",
    job=drop_job,
    cron_schedule="0 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 03:00 UTC, behind the archive, whose pool it waits for.",
)

rearchive_job = dg.define_asset_job(
    "rearchive",
    selection=dg.AssetSelection.assets(rearchived_days),
    description="Archives dropped days anew for which readings came since.",
)

cold_job = dg.define_asset_job(
    "cold_report",
    selection=dg.AssetSelection.assets(cold_tier),
    description="What is archived and what is due; some copies are added up once more.",
)

cold_report = dg.ScheduleDefinition(
    "cold_report_every_6_h",
    job=cold_job,
    cron_schedule="37 */6 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every six hours from 00:37 UTC.",
)

hot_refresh_job = dg.define_asset_job(
    "hot_refresh",
    selection=dg.AssetSelection.assets(hot_tier),
    description="Brings back hours that Redis lost, removes what has left its window, compares it with the warm tier.",
)

hot_refresh = dg.ScheduleDefinition(
    "hourly_hot_refresh",
    job=hot_refresh_job,
    cron_schedule="7 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 7 minutes past every hour, when ingest has packed the hour before.",
)

tier_report_job = dg.define_asset_job(
    "tier_report",
    selection=dg.AssetSelection.assets(warm_tier, tier_inventory),
    description="What the tiers hold and cost.",
)

tier_report = dg.ScheduleDefinition(
    "daily_tier_report",
    job=tier_report_job,
    cron_schedule="40 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="At 03:40 UTC, when what is archived and dropped in a night usually is.",
)

health_job = dg.define_asset_job(
    "platform_health_check",
    selection=dg.AssetSelection.assets(platform_health),
    description="Asks every part of the platform how it is.",
)

health = dg.ScheduleDefinition(
    "platform_health_every_15_min",
    job=health_job,
    cron_schedule="*/15 * * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every quarter of an hour.",
)

clean_up_job = dg.define_asset_job(
    "clean_up_with_age",
    selection=dg.AssetSelection.assets(clean_up),
    description="Removes with age what is neither a reading nor proof of one.",
)

weekly_clean_up = dg.ScheduleDefinition(
    "weekly_clean_up",
    job=clean_up_job,
    cron_schedule="20 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="On Sundays at 04:20 UTC.",
)

TIERING_JOBS = [
    archive_job,
    older_job,
    drop_job,
    rearchive_job,
    cold_job,
    clean_up_job,
    health_job,
    hot_refresh_job,
    tier_report_job,
]
TIERING_SCHEDULES = [
    nightly_archive,
    nightly_older,
    nightly_drop,
    cold_report,
    weekly_clean_up,
    health,
    hot_refresh,
    tier_report,
]
