"""All of the tiers' assets and checks."""

from wellos_dagster.defs.tiering.clean_up import clean_up
from wellos_dagster.defs.tiering.cold_archive import cold_archive, older_days
from wellos_dagster.defs.tiering.cold_tier import cold_tier, copy_is_sound, verified
from wellos_dagster.defs.tiering.dropped_days import dropped_days, nothing_is_overdue, rearchived_days
from wellos_dagster.defs.tiering.health import platform_health
from wellos_dagster.defs.tiering.hot_tier import hot_equals_warm, hot_tier
from wellos_dagster.defs.tiering.inventory import no_day_is_missing, tier_inventory, tiers_agree
from wellos_dagster.defs.tiering.warm_tier import warm_tier

__all__ = ["TIERING_ASSETS", "TIERING_CHECKS"]

TIERING_ASSETS = [
    *(cold_archive, older_days, dropped_days, rearchived_days),
    *(hot_tier, warm_tier, cold_tier, tier_inventory),
    *(platform_health, clean_up),
]
TIERING_CHECKS = [hot_equals_warm, no_day_is_missing, tiers_agree, verified, copy_is_sound, nothing_is_overdue]
