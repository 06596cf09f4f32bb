"""What the tiers hold and cost, in the asset graph, and whether every day is in one of them."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any

import dagster as dg
import redis

from wellos import plots
from wellos.errors import WellosError
from wellos.settings import load_settings
from wellos.tiers.coverage import gaps
from wellos.tiers.forecast import forecast
from wellos.tiers.inventory import Stock, store_name, take_stock
from wellos_dagster.resources import Hot, PlatformClock, Warm
from wellos_dagster.specs import OPERATIONS_TEAM, columns
from wellos_dagster.tables import records

__all__ = ["no_day_is_missing", "tier_inventory", "tiers_agree"]

_SAMPLE = 4
_TIERS = ("hot", "warm", "aggregates", "cold")


@dg.asset(
    deps=["readings", "readings_1day", "hot_tier", "warm_tier"],
    group_name="tiers",
    owners=[OPERATIONS_TEAM],
    kinds={"postgres", "redis"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=2), warn_window=timedelta(hours=26)),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata={
        "dagster/uri": "wellos tiers",
        "dagster/column_schema": columns(
            tier="text: hot, warm, aggregates or cold",
            tenant="text: the tenant, or (all) of what belongs to all together",
            rows="bigint: readings",
            bytes="bigint: as the tier counts its space; what tenants share, by their part of the rows",
            oldest="timestamp with time zone: start of the oldest hour or day",
            newest="timestamp with time zone: end of the newest hour or day",
            ratio="double precision: how many times smaller than 26 bytes a reading",
            monthly_cost="double precision: at the prices of the settings",
        ),
    },
)
def tier_inventory(warm: Warm, hot: Hot, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """What is hot, warm and cold: readings, bytes, ages and monthly cost by tier and tenant, and a year's forecast.

    The same as `wellos tiers`. Prices are the settings `WELLOS_PRICE_...`; the forecast is for readings that go on
    coming as in the last seven complete days.
    """
    from wellos.tiers.plot import draw  # noqa: PLC0415 - matplotlib, only when it runs

    settings = load_settings()
    stock = _stock(warm, hot)
    ahead = forecast(stock, settings, clock.now().date())
    now, then = ahead.months[0], ahead.months[-1]
    picture = plots.markdown_image(draw(ahead, settings.price_currency), alt="monthly cost of the tiers")
    found: dict[str, Any] = {}
    for tier in _TIERS:
        rows, size = stock.total(tier)  # type: ignore[arg-type]  # its names are those of the type
        found |= {f"{tier}_rows": rows} if tier != "aggregates" else {}
        found |= {f"{tier}_bytes": size, f"{tier}_cost_month": round(now.cost[tier], 6)}  # type: ignore[index]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(stock.holdings),
            **found,
            "currency": settings.price_currency,
            "cost_month": round(now.total, 6),
            "cost_month_unarchived": round(now.cost_unarchived, 6),
            "cost_month_in_a_year": round(then.total, 6),
            "cost_of_the_year": round(ahead.year_cost, 6),
            "readings_per_day": round(ahead.growth.rows_per_day),
            "assumed": ", ".join(ahead.assumed) or "nothing",
            "remarks": "; ".join(stock.remarks) or "none",
            "observed_at": dg.MetadataValue.timestamp(clock.now()),
            "forecast": dg.MetadataValue.md(picture),
            "holding_table": records(
                replace(item, monthly_cost=round(item.monthly_cost, 6)) for item in stock.holdings
            ),
        }
    )


def _stock(warm: Warm, hot: Hot) -> Stock:
    """Without Redis, the stock says so in its remarks."""
    settings = load_settings()
    with ExitStack() as stack:
        conn = stack.enter_context(warm.connect(autocommit=True))
        try:
            client = stack.enter_context(hot.connect())
        except (WellosError, redis.RedisError):
            client = None
        return take_stock(conn, settings, client)


@dg.asset_check(
    asset=tier_inventory,
    name="no_day_is_missing",
    description=(
        "Every closed day of every tenant of which the daily aggregate counted readings is in the warm tier, or "
        "dropped with a receipt in force for just as many."
    ),
)
def no_day_is_missing(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Look for days that are in no tier."""
    with warm.connect(autocommit=True) as conn:
        found = gaps(conn, store_name(load_settings()), clock.now())
    return dg.AssetCheckResult(
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n".join(f"{gap.tenant} {gap.day}: {gap.reason}" for gap in found[:20]) or None,
        metadata={"gaps": len(found), "gap_table": records(found)},
    )


@dg.asset_check(
    asset=tier_inventory,
    name="tiers_agree",
    description=(
        f"{_SAMPLE} tenants' days that are in the warm tier and archived, chosen by the minute, hold the same values "
        "in both: PostgreSQL adds them up anew. Late readings of dropped days are told; reads merge them with the copy."
    ),
)
def tiers_agree(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Compare some days that are in two tiers."""
    from wellos.archive.late import overlay_days  # noqa: PLC0415 - NumPy, only when it runs
    from wellos.tiers.agreement import agreements  # noqa: PLC0415 - same

    seed = f"tiers {clock.now():%Y-%m-%dT%H:%M}"
    with warm.connect(autocommit=True) as conn:
        found = agreements(conn, store_name(load_settings()), seed, days=_SAMPLE)
        late = overlay_days(conn)
    wrong = [one for one in found if not one.agrees]
    lines = [
        f"{one.tenant} {one.day}: {one.warm:,} readings in the warm tier, {one.archived:,} archived, and no change "
        "was noted"
        for one in wrong
    ]
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n".join(lines) or f"{len(found)} days are the same in both tiers",
        metadata={
            "compared": len(found),
            "differing": len(wrong),
            "overlay_days": len(late),
            "overlay": ", ".join(map(str, late[:20])) or "none",
            "seed": seed,
            "looked_at": records(found),
        },
    )
