"""Archives anew what changed since it was archived: days in the warm tier, and days that were dropped already."""

import json
from typing import TYPE_CHECKING

import dagster as dg

from sensors.archive_runs import request, stretches
from wellos.archive.late import overlay_days
from wellos.archive.ranges import last_due_day
from wellos.archive.receipts import pending
from wellos.clock import WallClock
from wellos.settings import load_settings
from wellos.storage import warm
from wellos.tiers.inventory import store_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EVERY_S", "late_data", "stale_receipts"]

EVERY_S = 3600
"""A tenant's day that late readings keep coming for is archived again no more often than this."""


@dg.sensor(
    target=dg.AssetSelection.assets("cold_archive"),
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Archives again, at most hourly, a tenant's day that changed since it was archived and has not left the warm "
        "tier."
    ),
)
def stale_receipts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Ask for the days whose receipts are stale; the cursor keeps when each was asked for last."""
    settings = load_settings()
    now_s = WallClock().micros() // 1_000_000
    asked: Mapping[str, int] = {
        key: moment for key, moment in json.loads(context.cursor or "{}").items() if now_s - moment < EVERY_S
    }
    known = set(context.instance.get_dynamic_partitions("tenants"))
    with warm.connect(settings, autocommit=True) as conn:
        found = pending(
            conn,
            store_name(settings),
            last_due_day(settings, settings.make_clock()),
            since=settings.partitions_start,
        )
    stale = {f"{one.day}|{one.tenant}": one for one in found if one.receipt_id is not None and one.tenant in known}
    wanted = {key: one for key, one in stale.items() if key not in asked}
    cursor = json.dumps({**asked, **dict.fromkeys(wanted, now_s)}, sort_keys=True)
    if not wanted:
        said = f"{len(stale)} stale, asked for within the hour" if stale else "no receipt is stale"
        return dg.SensorResult(skip_reason=said, cursor=cursor)
    runs = [
        request(one, run_key=f"{one.tenant} {one.first}..{one.last} {now_s}", trigger="stale_receipts")
        for one in stretches((one.tenant, one.day) for one in wanted.values())
    ]
    return dg.SensorResult(run_requests=runs, cursor=cursor)


@dg.sensor(
    target=dg.AssetSelection.assets("rearchived_days"),
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Has dropped days for which readings came since archived anew, at most hourly.",
)
def late_data() -> dg.SensorResult:
    """Ask once an hour of the machine's clock, as long as there are such days."""
    settings = load_settings()
    with warm.connect(settings, autocommit=True) as conn:
        days = overlay_days(conn)
    if not days:
        return dg.SensorResult(skip_reason="no reading came for a dropped day")
    hour = f"{WallClock().now():%Y-%m-%dT%H}"
    return dg.SensorResult(run_requests=[dg.RunRequest(run_key=hour, tags={"trigger": "late_data"})])
