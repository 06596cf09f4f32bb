"""Statistics of a well's metrics by hour, day, week and month, from the telemetry relations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql
from psycopg.rows import scalar_row

from wellos.aggregates import day_floor, day_window
from wellos.clock import WallClock
from wellos.errors import ConfigurationError, Problem
from wellos.query.intervals import INTERVALS, ceil, floor
from wellos.query.names import unknown_name
from wellos.query.provenance import Part
from wellos.storage.copy import decode_columns
from wellos.storage.sql import query
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["RELATIONS", "Telemetry", "find_wells", "read_telemetry"]

RELATIONS = {
    "1hour": "telemetry_hourly",
    "1day": "telemetry_daily",
    "1week": "telemetry_weekly",
    "1month": "telemetry_monthly",
}
_STATISTICS = ("avg", "min", "max", "median", "stddev")
_COUNTS = ("n", "n_good", "n_uncertain", "n_bad")


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Rows by time and well, and where they came from."""

    frame: pl.DataFrame
    part: Part
    watermark: datetime


def read_telemetry(
    conn: PgConnection,
    settings: Settings,
    tenant: str,
    wells: Sequence[str] | None,
    start: datetime,
    end: datetime,
    interval: str,
    now: datetime,
) -> Telemetry:
    """Read the telemetry of wells (None: all) in whole buckets that touch [start, end).

    ConfigurationError for what the caller must correct: names, an interval that there is not, too many rows, and a
    range that begins before telemetry is kept.
    """
    relation = RELATIONS.get(interval)
    if relation is None:
        remedy = did_you_mean(interval, RELATIONS)
        raise ConfigurationError([Problem("no interval of telemetry", remedy, field="interval", value=interval)])
    tenant_id, names = find_wells(conn, tenant, wells)
    width = INTERVALS[interval]
    start, end = floor(width, start), ceil(width, end)
    _check(settings, interval, len(names), start, end)
    with conn.cursor(row_factory=scalar_row) as cursor:
        metrics: list[str] = cursor.execute("SELECT unnest(telemetry_metrics())").fetchall()
    statistics = [f"{metric}_{name}" for metric in metrics for name in _STATISTICS]
    text = sql.SQL(query("query_telemetry")).format(
        relation=sql.Identifier(relation),
        columns=sql.SQL(", ").join(sql.SQL("coalesce({}, 'NaN')").format(sql.Identifier(name)) for name in statistics),
    )
    span = {"start": start, "end": end}
    source = "telemetry_hourly" if interval == "1hour" else "telemetry_daily"
    # The overlay first: a day that comes back meanwhile is stale by the time that is asked for.
    asked = {"wells": list(names), "first": start.date(), "last": (end - timedelta(microseconds=1)).date()}
    with conn.cursor(row_factory=scalar_row) as cursor:
        late: date | None = cursor.execute(query("query_telemetry_overlay"), asked).fetchone()
    stale = [low for low, _ in conn.execute(query("query_stale"), {"relation": source, **span})]
    stale += [] if late is None else [day_window(late)[0]]
    with conn.cursor() as cursor, cursor.copy(text, {"tenant_id": tenant_id, "wells": list(names), **span}) as copy:
        stream = b"".join(copy)
    frame = _frame(decode_columns(stream, _kinds(statistics)), names, statistics)
    watermark = min([now, end, *(max(low, start) for low in stale)])
    return Telemetry(frame, Part("warm", relation, start, end, len(frame)), watermark)


def find_wells(conn: PgConnection, tenant: str, wanted: Sequence[str] | None) -> tuple[UUID, Mapping[int, str]]:
    """Return the tenant's id, and the wells' names by id; ConfigurationError names the nearest known."""
    rows = conn.execute(query("query_wells"), {"tenant": tenant}).fetchall()
    if not rows:
        with conn.cursor(row_factory=scalar_row) as cursor:
            tenants: list[str] = cursor.execute("SELECT slug FROM tenants ORDER BY slug").fetchall()
        raise ConfigurationError([unknown_name("tenant", tenant, tenants)])
    known = {name: well_id for _, well_id, name in rows if name is not None}
    missing = [name for name in wanted or () if name not in known]
    if missing:
        raise ConfigurationError([unknown_name("well", name, list(known)) for name in missing])
    return rows[0][0], {known[name]: name for name in (known if wanted is None else wanted)}


def _check(settings: Settings, interval: str, wells: int, start: datetime, end: datetime) -> None:
    width = INTERVALS[interval].width or timedelta(hours=1)
    rows = wells * math.ceil((end - start) / width)
    if rows > settings.query_max_rows:
        message = f"would give up to {rows:,} rows; the most in one answer is {settings.query_max_rows:,}"
        remedy = "Ask for a longer interval, fewer wells or less time (WELLOS_QUERY_MAX_ROWS)"
        raise ConfigurationError([Problem(message, remedy, field="interval", value=interval)])
    kept = day_floor(WallClock().now()) - timedelta(days=settings.aggregate_days - 1)
    if start < kept:
        message = f"is before telemetry is kept ({settings.aggregate_days} days, WELLOS_AGGREGATE_DAYS)"
        remedy = f"Ask from {kept:%Y-%m-%d} on, or for readings() of tags, which are computed from the archive"
        raise ConfigurationError([Problem(message, remedy, field="start", value=start.isoformat())])


def _kinds(statistics: Sequence[str]) -> dict[str, str]:
    return {"time": "i8", "well_id": "i4", **dict.fromkeys(_COUNTS, "i8"), **dict.fromkeys(statistics, "f8")}


def _frame(rows: NDArray[np.void], names: Mapping[int, str], statistics: Sequence[str]) -> pl.DataFrame:
    native = {name: rows[name].astype(rows[name].dtype.newbyteorder("=")) for name in _kinds(statistics)}
    times = pl.Series("time", native["time"]).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    words = pl.Series("well", [names[well] for well in native["well_id"].tolist()], dtype=pl.Categorical)
    values = [pl.Series(name, native[name]) for name in (*_COUNTS, *statistics)]
    return pl.DataFrame([times, words, *values]).with_columns(pl.col(statistics).fill_nan(None)).sort("time", "well")
