"""How the whole platform is, in the asset graph."""

from datetime import timedelta
from typing import Any

import dagster as dg

from wellos.clock import WallClock
from wellos.health.report import Health, Runs
from wellos.settings import load_settings
from wellos_dagster.resources import PlatformClock
from wellos_dagster.specs import OPERATIONS_TEAM, columns
from wellos_dagster.tables import records

__all__ = ["platform_health"]

_RATE_WARN, _RATE_ERROR = 0.9, 0.5
_ENDED = {"succeeded": dg.DagsterRunStatus.SUCCESS, "failed": dg.DagsterRunStatus.FAILURE}


@dg.asset(
    group_name="operations",
    owners=[OPERATIONS_TEAM],
    kinds={"python"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=2), warn_window=timedelta(minutes=45)),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    check_specs=[
        dg.AssetCheckSpec(
            "every_part_is_up",
            asset="platform_health",
            description="No part of the platform is down, and none needs to be looked at (which is a warning).",
        ),
        dg.AssetCheckSpec(
            "runs_succeed",
            asset="platform_health",
            description=(
                f"Of the Dagster runs that ended in the last 24 hours, fewer than {1 - _RATE_WARN:.0%} failed; "
                f"an error from {1 - _RATE_ERROR:.0%} on."
            ),
        ),
    ],
    metadata={
        "dagster/uri": "wellos health",
        "dagster/column_schema": columns(
            name="text: the part",
            state="text: up, warning, down or unset",
            detail="text: what it said",
            milliseconds="double precision: how long it took",
        ),
    },
)
def platform_health(context: dg.AssetExecutionContext, clock: PlatformClock) -> dg.MaterializeResult:  # type: ignore[type-arg]  # with checks of its own, Dagster knows the bare class alone
    """Every part of the platform, asked at once: servers, ingest, archive, disk; and what runs badly in them.

    Also how runs ended, the hit rate of the query cache, slow queries and unused indexes. The same as `wellos health`.
    """
    from wellos.health.examine import examine  # noqa: PLC0415 - the clients of all servers, only when it runs

    since = WallClock().now() - timedelta(hours=24)
    ended = {
        name: context.instance.get_runs_count(dg.RunsFilter(statuses=[status], updated_after=since))
        for name, status in _ENDED.items()
    }
    found = examine(load_settings(), runs=Runs(**ended))
    states = [part.state for part in found.parts]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(found.parts),
            **{f"parts_{state}": states.count(state) for state in ("up", "warning", "down", "unset")},
            "runs_succeeded_24h": ended["succeeded"],
            "runs_failed_24h": ended["failed"],
            **_rate("run_success_pct", found.runs.success_rate if found.runs else None),
            **_rate("cache_hit_pct", found.cache.hit_rate if found.cache else None),
            "slow_queries": len(found.slow),
            "slow_queries_from": found.slow_from,
            "unused_indexes": len(found.unused),
            "unused_index_bytes": sum(index.bytes for index in found.unused),
            "observed_at": dg.MetadataValue.timestamp(clock.now()),
            "part_table": records(found.parts),
            "slow_table": records(found.slow),
            "unused_table": records(found.unused),
        },
        check_results=[_parts(found), _runs(found)],
    )


def _rate(name: str, value: float | None) -> dict[str, Any]:
    return {} if value is None else {name: round(100 * value, 2)}


def _parts(found: Health) -> dg.AssetCheckResult:
    poor = [part for part in found.parts if part.state in {"down", "warning"}]
    return dg.AssetCheckResult(
        check_name="every_part_is_up",
        passed=not poor,
        severity=dg.AssetCheckSeverity.WARN if found.up else dg.AssetCheckSeverity.ERROR,
        description="\n".join(f"{part.name} is {part.state}: {part.detail}" for part in poor) or None,
        metadata={"parts": records(poor)},
    )


def _runs(found: Health) -> dg.AssetCheckResult:
    rate = found.runs.success_rate if found.runs is not None else None
    return dg.AssetCheckResult(
        check_name="runs_succeed",
        passed=rate is None or rate >= _RATE_WARN,
        severity=dg.AssetCheckSeverity.WARN if rate is None or rate > _RATE_ERROR else dg.AssetCheckSeverity.ERROR,
        description="no run has ended in 24 hours" if rate is None else f"{100 * rate:.1f} % of runs succeeded",
        metadata=_rate("run_success_pct", rate),
    )
