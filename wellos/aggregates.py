"""The aggregates of the readings: refresh them, and say where they stand and what they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING

from psycopg import sql
from psycopg.rows import class_row, scalar_row

from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

__all__ = [
    "TELEMETRY",
    "WIDTHS",
    "AggregateStatus",
    "BackgroundJob",
    "Hour",
    "background_jobs",
    "beyond_watermark",
    "buckets_stored",
    "by_hour",
    "day_floor",
    "day_window",
    "days_with_readings",
    "intervals",
    "lag_s",
    "next_transaction",
    "pending",
    "refresh",
    "refresh_due",
    "refresh_stale",
    "statuses",
]

WIDTHS = {
    "readings_1min": timedelta(minutes=1),
    "readings_5min": timedelta(minutes=5),
    "readings_1hour": timedelta(hours=1),
    "readings_1day": timedelta(days=1),
    "telemetry_hourly": timedelta(hours=1),
    "telemetry_daily": timedelta(days=1),
}
"""Relation -> width of its buckets, in the order of refreshing."""

TELEMETRY = ("telemetry_hourly", "telemetry_daily")
"""Those with a row a well; the others have one a tag."""

_FINER = {
    "readings_5min": "readings_1min",
    "readings_1hour": "readings_5min",
    "readings_1day": "readings_1hour",
    "telemetry_hourly": "readings_1min",
    "telemetry_daily": "telemetry_hourly",
}
"""What must be right first."""


@dataclass(frozen=True, slots=True)
class AggregateStatus:
    """Where one aggregate stands: how far it is materialised, and how many changed ranges wait for a refresh."""

    relation: str
    watermark: datetime | None
    materialised_to: datetime | None
    refreshed_at: datetime | None
    pending_invalidations: int


@dataclass(frozen=True, slots=True)
class BackgroundJob:
    """How a background job of the database is: one that refreshes, compresses or drops."""

    job_id: int
    job: str
    relation: str | None
    scheduled: bool
    status: str
    last_success: datetime | None
    next_start: datetime | None
    runs: int
    failures: int
    consecutive_failures: int
    last_error: str | None
    last_error_at: datetime | None


@dataclass(frozen=True, slots=True)
class Hour:
    """What an aggregate holds of one hour."""

    hour: datetime
    buckets: int
    n: int
    good: int
    uncertain: int
    bad: int


def day_floor(moment: datetime) -> datetime:
    """Return the start of the UTC day of an aware datetime."""
    return datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def day_window(day: date) -> tuple[datetime, datetime]:
    """Return the half-open window of a UTC day."""
    start = datetime.combine(day, time(), UTC)
    return start, start + timedelta(days=1)


def refresh(conn: psycopg.Connection, relation: str, start: datetime, end: datetime) -> None:
    """Bring one aggregate up to date for the window [start, end). The connection must be in autocommit mode."""
    if relation not in WIDTHS:
        raise ValueError(f"no aggregate {relation!r}: one of {', '.join(WIDTHS)}")
    conn.execute("CALL refresh_aggregate(%s, %s, %s)", [relation, start, end])


def refresh_stale(conn: psycopg.Connection) -> None:
    """Bring all of them up to date wherever readings came or changed, whatever their day; needs autocommit mode."""
    conn.execute("CALL refresh_aggregates()")


def refresh_due(conn: psycopg.Connection) -> None:
    """Bring up to date those whose last refresh is as long ago as their policy says; needs autocommit mode."""
    conn.execute("CALL refresh_due_aggregates()")


def statuses(conn: psycopg.Connection) -> dict[str, AggregateStatus]:
    """Return where each aggregate stands, by relation, finest first."""
    with conn.cursor(row_factory=class_row(AggregateStatus)) as cursor:
        found = {row.relation: row for row in cursor.execute(query("aggregate_status"))}
    return {relation: found[relation] for relation in WIDTHS}


def pending(conn: psycopg.Connection, relation: str) -> int:
    """Return how many changed ranges wait for a refresh in an aggregate and in those that must be right first."""
    found = statuses(conn)
    waiting, at = 0, relation
    while at:
        waiting += found[at].pending_invalidations
        at = _FINER.get(at, "")
    return waiting


def lag_s(conn: psycopg.Connection, status: AggregateStatus, newest: datetime | None) -> float:
    """Return for how many seconds a bucket with readings has been complete and is not materialised; 0 without one.

    Time is that of the readings: a bucket is complete when a newer one has begun.
    """
    if newest is None:
        return 0.0
    width = WIDTHS[status.relation]
    with conn.cursor(row_factory=scalar_row) as cursor:
        window = {
            "start": status.watermark,
            "end": _floor(newest, width),
            "metrics": status.relation in TELEMETRY,
        }
        oldest: datetime | None = cursor.execute(query("readings_oldest_between"), window).fetchone()
    return 0.0 if oldest is None else (newest - _floor(oldest, width) - width).total_seconds()


def _floor(moment: datetime, width: timedelta) -> datetime:
    """Start of the bucket that a moment falls into: every width divides a day."""
    midnight = day_floor(moment)
    return midnight + (moment - midnight) // width * width


def intervals(conn: psycopg.Connection) -> dict[str, timedelta | None]:
    """Return how often each aggregate is refreshed in the background; None while that was never set."""
    rows = conn.execute("SELECT relation, refresh_every FROM aggregate_levels").fetchall()
    found: dict[str, timedelta | None] = dict(rows)
    return found


def background_jobs(conn: psycopg.Connection) -> Sequence[BackgroundJob]:
    """Return the background jobs on readings and aggregates; none on an engine without any."""
    with conn.cursor(row_factory=class_row(BackgroundJob)) as cursor:
        return cursor.execute(query("storage_jobs")).fetchall()


def beyond_watermark(conn: psycopg.Connection, relation: str) -> int:
    """Return how many stored buckets begin at or after the watermark: each would be counted twice."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        found: int | None = cursor.execute("SELECT aggregate_beyond_watermark(%s)", [relation]).fetchone()
    return found or 0


def next_transaction(conn: psycopg.Connection) -> str:
    """Return the number that the next transaction gets, for `buckets_stored` after a refresh."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        found: str | None = cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text").fetchone()
    return found or "0"


def buckets_stored(conn: psycopg.Connection, relation: str, start: datetime, end: datetime, since: str) -> int:
    """Return how many buckets of [start, end) were stored anew by transactions from `since` on."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        window = [relation, start, end, since]
        text = "SELECT aggregate_buckets_stored(%s, %s, %s, %s::text::xid8)"
        found: int | None = cursor.execute(text, window).fetchone()
    return found or 0


def by_hour(conn: psycopg.Connection, relation: str, start: datetime, end: datetime) -> Sequence[Hour]:
    """Return what an aggregate holds of [start, end), by hour; those of the day have one row at each midnight."""
    text = sql.SQL(query("aggregate_by_hour")).format(relation=sql.Identifier(relation))
    with conn.cursor(row_factory=class_row(Hour)) as cursor:
        return cursor.execute(text, {"start": start, "end": end}).fetchall()


def days_with_readings(conn: psycopg.Connection, days: Iterable[date]) -> Sequence[date]:
    """Return those of `days` (UTC) that hold a reading, in order."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query("days_with_readings"), {"days": list(days)}).fetchall()
