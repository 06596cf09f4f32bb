"""When the tiers are looked after."""

import dagster as dg

from wellos_dagster.defs.tiering.clean_up import clean_up
from wellos_dagster.defs.tiering.health import platform_health
from wellos_dagster.defs.tiering.hot_tier import hot_tier
from wellos_dagster.defs.tiering.inventory import tier_inventory
from wellos_dagster.defs.tiering.warm_tier import warm_tier

__all__ = ["TIERING_JOBS", "TIERING_SCHEDULES"]

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

TIERING_JOBS = [clean_up_job, health_job, hot_refresh_job, tier_report_job]
TIERING_SCHEDULES = [weekly_clean_up, health, hot_refresh, tier_report]
