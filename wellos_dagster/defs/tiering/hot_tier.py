"""The hot tier: what Redis holds, brought back where it is missing, and equal to the warm tier."""

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import redis

from wellos.errors import WellosError
from wellos.settings import load_settings
from wellos_dagster.resources import Hot, PlatformClock, Warm
from wellos_dagster.specs import OPERATIONS_TEAM, columns
from wellos_dagster.tables import records

if TYPE_CHECKING:
    from wellos.tiers.drift import Drift
    from wellos.tiers.hot import HotTier

__all__ = ["hot_equals_warm", "hot_tier"]

_ATTEMPTS, _PAUSE_S = 3, 5.0
"""What differs is looked at again: a reading on its way is in one tier before it is in the other."""


@dg.asset(
    deps=["readings"],
    group_name="tiers",
    owners=[OPERATIONS_TEAM],
    kinds={"redis", "numpy"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=6), warn_window=timedelta(hours=2)),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata={
        "dagster/uri": "scada:*",
        "dagster/column_schema": columns(
            hour="timestamp with time zone: start of the hour, UTC",
            keys="integer: keys of groups of 64 tags",
            packed="integer: of these, packed",
            rows="bigint: readings; one that came twice may count twice",
            bytes="bigint: as Redis counts its memory",
        ),
    },
)
def hot_tier(warm: Warm, hot: Hot, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """The last hours in Redis: brings back what it lost, removes what has left the window, and counts the rest.

    Ingest fills Redis by itself. This brings closed hours back that Redis has no key of, from the warm tier, unless an
    ingest is at it; removes hours beyond `WELLOS_HOT_HOURS` and the latest readings of tags retired before; and never
    touches the hour under way.
    """
    from wellos.tiers import hot as tier  # noqa: PLC0415 - NumPy, only where it runs

    settings = load_settings()
    platform = settings.make_clock()
    try:
        with hot.connect() as client, warm.connect(autocommit=True) as conn:
            rebuilt = tier.rebuild(client, conn, settings, platform)
            trimmed = tier.trim(client, conn, settings, platform)
            held = tier.look(client)
    except (redis.RedisError, WellosError) as error:
        return dg.MaterializeResult(metadata={"available": False, "reason": str(error)})
    return dg.MaterializeResult(
        metadata={
            "available": True,
            "dagster/row_count": held.rows,
            "keys": len(held.hours) + held.latest_keys,
            "bytes": held.bytes,
            "hours": len({item.hour for item in held.hours}),
            "bytes_per_reading": round(sum(item.bytes for item in held.hours) / max(1, held.rows), 2),
            **_span(held),
            "rebuilt_hours": rebuilt.hours,
            "rebuilt_rows": rebuilt.rows,
            "missing_hours": rebuilt.missing,
            **({"left_to": rebuilt.left_to} if rebuilt.left_to else {}),
            "trimmed_hours": trimmed.hours,
            "trimmed_latest": trimmed.latest,
            "trimmed_marks": trimmed.filled,
            "hours_given_an_end": trimmed.untimed,
            "observed_at": dg.MetadataValue.timestamp(clock.now()),
            "hour_table": _by_hour(held),
        }
    )


def _span(held: "HotTier") -> dict[str, dg.MetadataValue]:
    if held.span is None:
        return {}
    first, last = (datetime.fromtimestamp(hour * 3600, UTC) for hour in held.span)
    return {"oldest_hour": dg.MetadataValue.timestamp(first), "newest_hour": dg.MetadataValue.timestamp(last)}


def _by_hour(held: "HotTier") -> dg.MetadataValue:
    table = []
    for hour in sorted({item.hour for item in held.hours}, reverse=True)[:72]:
        items = [item for item in held.hours if item.hour == hour]
        table.append(
            dg.TableRecord(
                {
                    "hour": f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%d %H:%M}",
                    "keys": len(items),
                    "packed": sum(item.packed for item in items),
                    "rows": sum(item.rows for item in items),
                    "bytes": sum(item.bytes for item in items),
                }
            )
        )
    return dg.MetadataValue.table(table) if table else dg.MetadataValue.text("none")


@dg.asset_check(
    asset=hot_tier,
    name="hot_equals_warm",
    description=(
        "Redis holds, of a sample of tags and hours that the minute seeds, exactly the readings of the warm tier: "
        "time, value, quality and status. What still waits in a spool may be in Redis alone. Warns without Redis."
    ),
)
def hot_equals_warm(warm: Warm, hot: Hot, clock: PlatformClock) -> dg.AssetCheckResult:
    """Compare again before saying so: a reading on its way is a difference for a moment."""
    from wellos.tiers.drift import drift  # noqa: PLC0415 - NumPy, only where it runs

    settings = load_settings()
    seed = f"hot {clock.now():%Y-%m-%dT%H:%M}"
    try:
        with hot.connect() as client, warm.connect(autocommit=True) as conn:
            for attempt in range(_ATTEMPTS):
                if attempt:
                    time.sleep(_PAUSE_S)
                found = drift(client, conn, settings, settings.make_clock(), seed)
                if not found.wrong:
                    break
    except (redis.RedisError, WellosError) as error:
        return dg.AssetCheckResult(
            passed=False,
            severity=dg.AssetCheckSeverity.WARN,
            description=f"Redis is not available; everything is read from the warm tier: {error}",
        )
    return _judged(found, seed)


def _judged(found: "Drift", seed: str) -> dg.AssetCheckResult:
    passing = bool(found.filling) and not found.differing and not found.only_hot
    wrong = (
        f"{found.differing} differ, {found.only_warm} are not in Redis, {found.only_hot} are not in the warm tier, "
        f"of {found.compared}"
    )
    return dg.AssetCheckResult(
        passed=not found.wrong,
        severity=dg.AssetCheckSeverity.WARN if passing else dg.AssetCheckSeverity.ERROR,
        description=(
            f"{found.compared} readings are the same in both tiers"
            if not found.wrong
            else f"{wrong}; ingest {found.filling} is filling Redis"
            if passing
            else wrong
        ),
        metadata={
            "compared": found.compared,
            "differing": found.differing,
            "only_warm": found.only_warm,
            "only_hot": found.only_hot,
            "waiting": found.waiting,
            "seed": seed,
            "tags": ", ".join(map(str, found.tags)),
            "hours": ", ".join(f"{datetime.fromtimestamp(hour * 3600, UTC):%Y-%m-%d %H:%M}" for hour in found.hours),
            "examples": records(found.examples),
        },
    )
