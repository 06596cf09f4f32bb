"""Fills the calendar: asks for the aggregates of closed days that hold readings, and reports those readings.

Ingest reports what it receives by the hour. Readings that came another way, a month of history or a recording, are
found here: their days get their partitions of the aggregates first, and then that of `readings`, with its counts.
Days with pumper entries get their partition of `field_entries` the same way. A day that late data has added to since
is asked for again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import dagster as dg

from wellos import aggregates
from wellos.aggregates import WIDTHS, day_floor, day_window
from wellos.clock import WallClock
from wellos.settings import Settings, load_settings
from wellos.storage import warm
from wellos.storage.sql import query
from wellos.storage.warm import PgConnection

__all__ = ["Batch", "new_days", "next_batch"]

MOST_DAYS = 31
"""Days of one run: it holds the pool of the aggregates for as long as they take."""
MOST_ATTEMPTS = 3
"""A day whose run failed this often is left alone: the failed run is there to be looked at."""
COMPARE_EVERY_S = 300
"""How often the newest days that are done are counted again: late data is refreshed as often."""
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


@dataclass(slots=True)
class Memory:
    """What the sensor keeps from tick to tick: how often each unfinished day was asked for, and the last comparison."""

    attempts: dict[date, int]
    compared_us: int

    @classmethod
    def load(cls, cursor: str | None) -> "Memory":
        """Read the cursor; the first tick has none."""
        kept = json.loads(cursor or "{}")
        attempts = {date.fromisoformat(day): int(count) for day, count in kept.get("attempts", {}).items()}
        return cls(attempts, int(kept.get("compared_us", 0)))

    def dump(self, done: set[date]) -> str:
        """Write the cursor; days that are done are forgotten."""
        attempts = {day.isoformat(): count for day, count in sorted(self.attempts.items()) if day not in done}
        return json.dumps({"attempts": attempts, "compared_us": self.compared_us})


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
    start = settings.partitions_start
    return [start + timedelta(days=k) for k in range(max(0, (end - start).days))]


@dg.sensor(
    target=dg.AssetSelection.assets(*_ASSETS),
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description=(
        "Asks for the aggregates of closed days that hold readings but have no partition yet, newest first, "
        f"{MOST_DAYS} days a run; then reports the readings of those days, and days with field entries. "
        "A day that late data has added to is asked for again."
    ),
)
def new_days(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Compare the days that hold readings with the partitions that Dagster knows."""
    settings = load_settings()
    days = closed_days(settings, settings.make_clock().now())
    known = [_partitions(context.instance, name) for name in _ASSETS]
    done = {day for day in days if all(day in each for each in known)}
    reported = _partitions(context.instance, "readings")
    unreported = sorted((day for day in done if day not in reported), reverse=True)[:MOST_DAYS]
    memory, tick_us = Memory.load(context.cursor), WallClock().micros()
    with warm.connect(settings, autocommit=True) as conn:
        events = [_readings(day, _rows_of(conn, day)) for day in unreported]
        events += _unreported_entries(conn, days, _partitions(context.instance, "field_entries"))
        unfinished = dg.RunsFilter(tags={"dagster/sensor_name": "new_days"}, statuses=_UNFINISHED)
        if context.instance.get_runs(unfinished, limit=1):
            return _result(memory, done, events, skip="the last run is not done yet")
        wanted = aggregates.days_with_readings(conn, [day for day in days if day not in done])
        batch = next_batch(wanted, memory.attempts)
        if batch is None and tick_us - memory.compared_us > COMPARE_EVERY_S * 1_000_000:
            memory.compared_us = tick_us
            changed = _changed(context.instance, conn, [day for day in days[-MOST_DAYS:] if day in done])
            events += [_readings(day, hours) for day, hours in changed.items()]
            batch = next_batch(changed, {})
    if batch is None:
        return _result(memory, done, events, skip="every closed day that holds readings has its partitions")
    for k in range((batch.last - batch.first).days + 1):
        memory.attempts[batch.first + timedelta(days=k)] = batch.attempt
    request = dg.RunRequest(
        tags={
            "dagster/asset_partition_range_start": batch.first.isoformat(),
            "dagster/asset_partition_range_end": batch.last.isoformat(),
        },
    )
    return _result(memory, done, events, request=request)


def _changed(
    instance: dg.DagsterInstance, conn: PgConnection, days: Sequence[date]
) -> Mapping[date, Sequence[aggregates.Hour]]:
    """Days that hold another number of readings than when they were last materialised, as late data leaves them."""
    keys = [day.isoformat() for day in days]
    if not keys:
        return {}
    newest: dict[str, object] = {}
    wanted = dg.AssetRecordsFilter(dg.AssetKey("readings_1day"), asset_partitions=keys)
    for record in instance.fetch_materializations(wanted, limit=4 * len(keys)).records:
        event = record.asset_materialization
        if event is not None and event.partition is not None and "rows" in event.metadata:
            newest.setdefault(event.partition, event.metadata["rows"].value)
    hours = aggregates.by_hour(conn, "readings_1day", day_window(days[0])[0], day_window(days[-1])[1])
    found = {hour.hour.date(): [hour] for hour in hours}
    return {
        day: found[day]
        for day in days
        if day in found and newest.get(day.isoformat(), found[day][0].n) != found[day][0].n
    }


def _partitions(instance: dg.DagsterInstance, asset: str) -> set[date]:
    return {date.fromisoformat(key) for key in instance.get_materialized_partitions(dg.AssetKey(asset))}


def _rows_of(conn: PgConnection, day: date) -> Sequence[aggregates.Hour]:
    return aggregates.by_hour(conn, "readings_1day", *day_window(day))


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
    memory: Memory,
    done: set[date],
    events: Sequence[dg.AssetMaterialization],
    *,
    request: dg.RunRequest | None = None,
    skip: str | None = None,
) -> dg.SensorResult:
    return dg.SensorResult(
        run_requests=[request] if request else None,
        skip_reason=skip if request is None else None,
        cursor=memory.dump(done),
        asset_events=list(events),
    )
