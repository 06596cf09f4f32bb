"""Fills the calendar: asks for the aggregates of closed days that hold readings, and reports those readings.

Ingest reports what it receives by the hour. Readings that came another way, a month of history or a recording, are
found here: their days get their partitions of the aggregates first, and then that of `readings`, with its counts.
Days with pumper entries get their partition of `field_entries` the same way.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from wellos import aggregates
from wellos.aggregates import WIDTHS, day_floor, day_window
from wellos.settings import Settings, load_settings
from wellos.storage import warm
from wellos.storage.sql import query
from wellos.storage.warm import PgConnection

__all__ = ["Batch", "new_days", "next_batch"]

MOST_DAYS = 31
"""Days of one run: it holds the pool of the aggregates for as long as they take."""
MOST_ATTEMPTS = 3
"""A day whose run failed this often is left alone: the failed run is there to be looked at."""
_FOUND = "new_days: stored, but not reported by ingest"
_ASSETS = tuple(WIDTHS)
_UNFINISHED = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive days to ask for in one run, and how often each was asked for before."""

    first: date
    last: date
    attempt: int

    @property
    def run_key(self) -> str:
        """The same for the same days and attempt, so that a tick that is repeated asks once."""
        return f"{self.first}..{self.last} attempt {self.attempt}"


def next_batch(wanted: Iterable[date], attempts: Mapping[date, int], *, most: int = MOST_DAYS) -> Batch | None:
    """Return the newest consecutive days of `wanted` that were asked for equally often, `most` at the most.

    Days asked for `MOST_ATTEMPTS` times are no longer wanted. None when nothing is left to ask for.
    """
    days = sorted({day for day in wanted if attempts.get(day, 0) < MOST_ATTEMPTS}, reverse=True)
    if not days:
        return None
    last = first = days[0]
    asked = attempts.get(last, 0)
    for day in days[1:most]:
        if day != first - timedelta(days=1) or attempts.get(day, 0) != asked:
            break
        first = day
    return Batch(first, last, asked + 1)


def closed_days(settings: Settings, now: datetime) -> Sequence[date]:
    """Return the days that have a partition and are over, with the usual lateness, oldest first."""
    end = day_floor(now - timedelta(seconds=settings.late_after_s)).date()
    start = max(settings.partitions_start, end - timedelta(days=settings.aggregate_days))
    return [start + timedelta(days=k) for k in range(max(0, (end - start).days))]


@dg.sensor(
    target=dg.AssetSelection.assets(*_ASSETS),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks for the aggregates of closed days that hold readings but have no partition yet, newest first, "
        f"{MOST_DAYS} days a run; then reports the readings of those days, and days with field entries."
    ),
)
def new_days(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the days that hold readings with the partitions that Dagster knows."""
    settings = load_settings()
    days = closed_days(settings, settings.make_clock().now())
    known = [_partitions(context.instance, name) for name in _ASSETS]
    aggregated = {day for day in days if all(day in each for each in known)}
    reported = _partitions(context.instance, "readings")
    missing = [day for day in days if day not in aggregated]
    unreported = sorted((day for day in aggregated if day not in reported), reverse=True)[:MOST_DAYS]
    attempts = {date.fromisoformat(day): int(count) for day, count in json.loads(context.cursor or "{}").items()}
    with warm.connect(settings, autocommit=True) as conn:
        events = [_readings(day, aggregates.by_hour(conn, "readings_1day", *day_window(day))) for day in unreported]
        events += _unreported_entries(conn, days, _partitions(context.instance, "field_entries"))
        if context.instance.get_runs(
            dg.RunsFilter(tags={"dagster/sensor_name": "new_days"}, statuses=_UNFINISHED), limit=1
        ):
            return _result(attempts, aggregated, events, skip="the last run is not done yet")
        wanted = aggregates.days_with_readings(conn, missing)
    batch = next_batch(wanted, attempts)
    if batch is None:
        return _result(attempts, aggregated, events, skip="every closed day that holds readings has its partitions")
    for k in range((batch.last - batch.first).days + 1):
        attempts[batch.first + timedelta(days=k)] = batch.attempt
    request = dg.RunRequest(
        run_key=batch.run_key,
        tags={
            "dagster/asset_partition_range_start": batch.first.isoformat(),
            "dagster/asset_partition_range_end": batch.last.isoformat(),
        },
    )
    return _result(attempts, aggregated, events, request=request)


def _partitions(instance: dg.DagsterInstance, asset: str) -> set[date]:
    return {date.fromisoformat(key) for key in instance.get_materialized_partitions(dg.AssetKey(asset))}


def _readings(day: date, hours: Sequence[aggregates.Hour]) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        "readings",
        partition=day.isoformat(),
        metadata={
            "rows": sum(hour.n for hour in hours),
            "good": sum(hour.good for hour in hours),
            "uncertain": sum(hour.uncertain for hour in hours),
            "bad": sum(hour.bad for hour in hours),
            "found_by": _FOUND,
        },
    )


def _unreported_entries(
    conn: PgConnection, days: Sequence[date], reported: set[date]
) -> Sequence[dg.AssetMaterialization]:
    if not days:
        return []
    window = {"start": day_window(days[0])[0], "end": day_window(days[-1])[1]}
    found = [row for row in conn.execute(query("days_with_field_entries"), window) if row[0] not in reported]
    return [
        dg.AssetMaterialization(
            "field_entries", partition=day.isoformat(), metadata={"revisions": revisions, "found_by": _FOUND}
        )
        for day, revisions in sorted(found, reverse=True)[:MOST_DAYS]
    ]


def _result(
    attempts: Mapping[date, int],
    done: set[date],
    events: Sequence[dg.AssetMaterialization],
    *,
    request: dg.RunRequest | None = None,
    skip: str | None = None,
) -> dg.SensorResult:
    """Keep the count of attempts of the days that are not done: it is all the cursor needs."""
    left = {day.isoformat(): count for day, count in sorted(attempts.items()) if day not in done}
    return dg.SensorResult(
        run_requests=[request] if request else None,
        skip_reason=skip if request is None else None,
        cursor=json.dumps(left),
        asset_events=list(events),
    )
