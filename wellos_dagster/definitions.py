"""The Dagster code location: wiring only."""

import dagster as dg

from sensors.failures import failed_checks, failed_runs
from sensors.imports import new_imports
from sensors.late_data import late_data, stale_receipts
from sensors.new_days import new_days
from sensors.tenants import known_tenants
from wellos_dagster.defs.aggregates.assets import AGGREGATES, aggregate_status
from wellos_dagster.defs.aggregates.checks import AGGREGATE_CHECKS
from wellos_dagster.defs.aggregates.schedules import AGGREGATE_JOBS, AGGREGATE_SCHEDULES
from wellos_dagster.defs.ingest.assets import field_entries, ingest_health, readings
from wellos_dagster.defs.ingest.checks import INGEST_CHECKS
from wellos_dagster.defs.ingest.imports import historian_imports
from wellos_dagster.defs.ingest.schedules import INGEST_JOBS, INGEST_SCHEDULES
from wellos_dagster.defs.registry.assets import registry
from wellos_dagster.defs.tiering.graph import TIERING_ASSETS, TIERING_CHECKS
from wellos_dagster.defs.tiering.schedules import TIERING_JOBS, TIERING_SCHEDULES
from wellos_dagster.resources import Cold, Hot, PlatformClock, Warm

__all__ = ["defs"]

defs = dg.Definitions(
    # Every run is a process of its own already; a process for each step would cost seconds and gain nothing.
    executor=dg.in_process_executor,
    assets=[
        registry,
        readings,
        field_entries,
        ingest_health,
        historian_imports,
        *AGGREGATES,
        aggregate_status,
        *TIERING_ASSETS,
    ],
    asset_checks=[*INGEST_CHECKS, *AGGREGATE_CHECKS, *TIERING_CHECKS],
    jobs=[*INGEST_JOBS, *AGGREGATE_JOBS, *TIERING_JOBS],
    schedules=[*INGEST_SCHEDULES, *AGGREGATE_SCHEDULES, *TIERING_SCHEDULES],
    sensors=[
        new_days,
        new_imports,
        known_tenants,
        stale_receipts,
        late_data,
        failed_checks,
        failed_runs,
        # The one that Dagster makes by itself is stopped.
        dg.AutomationConditionSensorDefinition(
            "automation",
            target=dg.AssetSelection.all() | dg.AssetSelection.all_asset_checks(),
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            run_tags={"trigger": "automation"},
        ),
    ],
    resources={"warm": Warm(), "hot": Hot(), "cold": Cold(), "clock": PlatformClock()},
)
