"""The database of `benchmarks query`: readings of a field as ingest stores them, and their aggregates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.query_data import MINUTES, by_tag, by_well, minutes
from wellos.aggregates import day_floor
from wellos.clock import WallClock, to_micros
from wellos.readings import pack
from wellos.storage.copy import copy_columns, copy_readings, to_postgres
from wellos.storage.warm import engine
from wellos.telemetry import METRICS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from numpy.typing import NDArray

    from benchmarks.query_data import Minutes
    from wellos.storage.warm import PgConnection

__all__ = ["TAGS", "Field", "Span", "find_field", "find_span", "load"]

TAGS = 20
"""Of a well: its metrics, and others that are in no telemetry relation."""
_OPEN = MINUTES - 390
"""Minutes of the last day: it is 17:30, so that an hour and a day are in progress."""
_COMPRESSED_AFTER = timedelta(days=7)
_A_MINUTE, _AN_HOUR, _A_DAY = 60_000_000, 3_600_000_000, 86_400_000_000

_REGISTER = """
WITH tenant AS (INSERT INTO tenants (slug, name) VALUES ('benchmark', 'Benchmark') RETURNING tenant_id),
field AS (
    INSERT INTO wells (tenant_id, name, lift_type)
    SELECT tenant_id, 'B-' || i, 'esp' FROM tenant, generate_series(1, %(wells)s) i
    RETURNING tenant_id, well_id
),
plc AS (
    INSERT INTO scada_connections (tenant_id, name, protocol, config)
    SELECT tenant_id, 'plc', 'modbus', '{}' FROM tenant RETURNING connection_id
)
INSERT INTO tags (tenant_id, well_id, connection_id, name, address, unit, interval_s)
SELECT tenant_id, well_id, connection_id, name, well_id || '/' || name, 'psi', 60
FROM field, plc, unnest(%(names)s::text[]) name ORDER BY well_id, name
"""
_SPAN = """
CREATE TABLE benchmark_span AS
SELECT %s::timestamptz AS ended_at, %s AS days, %s AS raw_days, %s AS refreshed_days
"""
_REFRESH = """CALL refresh_continuous_aggregate(
    %s::regclass, %s::timestamptz, %s::timestamptz, options => '{"buckets_per_batch": 0}')"""


@dataclass(frozen=True, slots=True)
class Span:
    """What there is in the end: whole days before the one in progress, and for how many of them also the readings."""

    ended_at: datetime
    days: int
    raw_days: int
    refreshed_days: int
    """The newest, whose aggregates the database makes itself. Those of older ones are copied in ready made."""

    @classmethod
    def until_now(cls, days: int, raw_days: int, refreshed_days: int) -> Span:
        """Return the span that ends yesterday at 17:30 UTC: no reading may be of the future."""
        ended_at = day_floor(WallClock().now()) - timedelta(days=1) + timedelta(minutes=_OPEN)
        return cls(ended_at, days, min(days, raw_days), min(days, refreshed_days))

    def day(self, back: int) -> datetime:
        """Return the midnight that the day so many days before the one in progress begins with."""
        return day_floor(self.ended_at) - timedelta(days=back)


@dataclass(frozen=True, slots=True)
class Field:
    """Numbers of the registry; the rows of `query_data.minutes` are those of `tags`."""

    tenant: UUID
    wells: tuple[int, ...]
    tags: tuple[int, ...]
    well_of: tuple[int, ...]
    metrics: Mapping[str, NDArray[np.int64]]
    """Metric -> row of its tag for each well."""


def find_field(db: PgConnection) -> Field:
    """Read the registry."""
    rows = db.execute(
        "SELECT tag_id, well_id, telemetry_metric, tenant_id FROM tags ORDER BY well_id, tag_id"
    ).fetchall()
    tags, well_of, metrics, tenants = zip(*rows, strict=True)
    places = {m: np.flatnonzero(np.array(metrics) == m) for m in METRICS}
    return Field(tenants[0], tuple(dict.fromkeys(well_of)), tags, well_of, places)


def find_span(db: PgConnection) -> Span:
    """Read what a kept database was loaded with."""
    row = db.execute("SELECT ended_at, days, raw_days, refreshed_days FROM benchmark_span").fetchone()
    assert row is not None
    return Span(*row)


def load(db: PgConnection, span: Span, wells: int) -> dict[str, float]:
    """Fill an empty database; return the rows and seconds of each step. The connection is in autocommit mode."""
    names = [*METRICS, *(f"other_{number}" for number in range(len(METRICS), TAGS))]
    db.execute(_REGISTER, {"wells": wells, "names": names})
    field, kind, clock = find_field(db), engine(db), WallClock()
    filled = _Aggregates(db, field)
    figures = {"readings loaded": 0.0, "s to copy readings": 0.0, "s to compress": 0.0, "s to copy aggregates": 0.0}
    for back in range(span.days, -1, -1):
        day = minutes(back, len(field.tags), MINUTES if back else _OPEN)
        start, begun = span.day(back), clock.monotonic()
        if back <= span.raw_days:
            # no trace is left of the order in which a compressed day came: in that of its segments it is loaded faster
            compressed = kind == "timescale" and start + timedelta(days=1) <= span.ended_at - _COMPRESSED_AFTER
            figures["readings loaded"] += _copy(db, field, day, start, sort=compressed)
            figures["s to copy readings"] += clock.monotonic() - begun
            begun = clock.monotonic()
            if compressed:
                _compress(db, start)
                figures["s to compress"] += clock.monotonic() - begun
                begun = clock.monotonic()
        if back > span.refreshed_days:
            filled.add(day, start)
            figures["s to copy aggregates"] += clock.monotonic() - begun
    begun = clock.monotonic()
    _refresh(db, span, kind)
    figures["s to refresh aggregates"] = clock.monotonic() - begun
    db.execute("VACUUM ANALYZE")
    db.execute(_SPAN, (span.ended_at, span.days, span.raw_days, span.refreshed_days))
    return figures


def _copy(db: PgConnection, field: Field, day: Minutes, start: datetime, *, sort: bool) -> int:
    """Copy a day minute by minute, as ingest stores it, or sorted as its index and its segments are."""
    tags, count = day.values.shape
    times, numbers = to_micros(start) + np.arange(count) * _A_MINUTE, np.array(field.tags)
    if sort:
        values, quality = day.values[:, ::-1], day.quality[:, ::-1]
        batch = pack(np.tile(times[::-1], tags), values.ravel(), np.repeat(numbers, count), quality.ravel())
    else:
        batch = pack(np.repeat(times, tags), day.values.T.ravel(), np.tile(numbers, count), day.quality.T.ravel())
    db.execute("SELECT ensure_readings_partitions(%s::date[])", ([start.date()],))
    with db.transaction(), db.cursor() as cursor:
        copy_readings(cursor, batch)
    return len(batch)


def _compress(db: PgConnection, start: datetime) -> None:
    db.execute(
        "SELECT compress_chunk(c) FROM show_chunks('readings', newer_than => %s, older_than => %s) c",
        (start, start + timedelta(days=1)),
    )


class _Aggregates:
    """Copies ready-made buckets of whole days into the tables that the relations read."""

    def __init__(self, db: PgConnection, field: Field) -> None:
        self._db, self._field = db, field
        # what is no function of ours finds its tables by name, which may be in a schema of TimescaleDB
        db.execute("SELECT set_config('search_path', current_schema || ', _timescaledb_internal', false)")
        self._tables = {
            relation: self._table(relation)
            for relation in ("readings_1hour", "readings_1day", "telemetry_hourly", "telemetry_daily")
        }

    def _table(self, relation: str) -> str:
        row = self._db.execute("SELECT relname FROM pg_class WHERE oid = aggregate_table(%s)", (relation,)).fetchone()
        assert row is not None
        return str(row[0])

    def add(self, day: Minutes, start: datetime) -> None:
        """Copy the hours and the day itself."""
        field = self._field
        tenant = np.array([field.tenant.bytes], "V16")
        for buckets, tags, wells in (
            (24, "readings_1hour", "telemetry_hourly"),
            (1, "readings_1day", "telemetry_daily"),
        ):
            bucket = to_postgres(to_micros(start) + np.arange(buckets) * (_A_DAY // buckets))
            self._copy(tags, bucket, {"tag_id": np.array(field.tags, np.int32)}, by_tag(day, buckets))
            key = {"well_id": np.array(field.wells, np.int32)}
            self._copy(wells, bucket, key, by_well(day, buckets, field.metrics), {"tenant_id": tenant})

    def _copy(
        self,
        relation: str,
        bucket: NDArray[np.int64],
        key: Mapping[str, NDArray[np.int32]],
        columns: Mapping[str, NDArray[Any]],
        same: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        """Copy a bucket at a time, all tags or wells of each, as a refresh inserts them."""
        ((name, ids),) = key.items()
        rows: dict[str, NDArray[Any]] = {
            "bucket": np.repeat(bucket, len(ids)),
            name: np.tile(ids, len(bucket)),
            **{column: values.T.ravel() for column, values in columns.items()},
            **(same or {}),
        }
        with self._db.transaction(), self._db.cursor() as cursor:
            copy_columns(cursor, self._tables[relation], rows)


def _refresh(db: PgConnection, span: Span, kind: str) -> None:
    """Have the database make the aggregates of the newest days, and go on from what was copied before them."""
    since = span.day(span.refreshed_days)
    if span.refreshed_days < span.days and kind == "plain":
        db.execute("UPDATE aggregate_levels SET watermark = %s", (since,))
        db.execute("UPDATE aggregate_levels SET threshold = %s WHERE level = 1", (since,))
    if span.refreshed_days == span.days or kind == "plain":
        db.execute("CALL refresh_aggregates()")
        return
    for stored_in, width in db.execute("SELECT stored_in, width FROM aggregate_levels ORDER BY level").fetchall():
        until = span.ended_at - (span.ended_at - span.day(0)) % width
        db.execute(_REFRESH, (stored_in, since, until))
