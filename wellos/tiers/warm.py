"""What the warm tier is made of: the chunk or partition of each day, how far it is compressed, and dead weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from wellos.storage.sql import query
from wellos.storage.warm import engine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from wellos.storage.warm import PgConnection

__all__ = ["UnusedIndex", "WarmDay", "WarmTotals", "totals", "unused_indexes", "warm_days"]

_LEAST_INDEX_BYTES = 1 << 20
"""A smaller index costs nobody anything."""


@dataclass(frozen=True, slots=True)
class WarmDay:
    """The chunk (TimescaleDB) or partition (plain) of one UTC day of readings."""

    day: date | None
    """None: the partition of rows whose day has none yet."""
    relation: str
    rows: int
    """By the database's statistics, not counted."""
    dead_rows: int
    """Left by updates and deletes, not yet vacuumed."""
    bytes: int
    """Table, indexes and what is compressed."""
    index_bytes: int
    compressed: bool
    before_bytes: int | None
    """What it took before it was compressed; None where it is not."""
    after_bytes: int | None

    @property
    def ratio(self) -> float | None:
        """How many times smaller compression made it; None where it is not compressed."""
        if self.before_bytes is None or not self.after_bytes:
            return None
        return self.before_bytes / self.after_bytes


@dataclass(frozen=True, slots=True)
class WarmTotals:
    """All days together; `ratio` is over the compressed ones."""

    days: int
    rows: int
    dead_rows: int
    bytes: int
    index_bytes: int
    compressed_days: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class UnusedIndex:
    """An index that no query used since statistics are kept, over all partitions or chunks of its table."""

    relation: str
    index: str
    bytes: int


def warm_days(conn: PgConnection) -> Sequence[WarmDay]:
    """Return the chunks or partitions of `readings`, oldest day first."""
    with conn.cursor(row_factory=class_row(WarmDay)) as cursor:
        return cursor.execute(query(f"warm_days_{engine(conn)}")).fetchall()


def totals(days: Sequence[WarmDay]) -> WarmTotals:
    """Add days up."""
    packed = [day for day in days if day.ratio is not None]
    after = sum(day.after_bytes or 0 for day in packed)
    return WarmTotals(
        days=sum(day.day is not None for day in days),
        rows=sum(day.rows for day in days),
        dead_rows=sum(day.dead_rows for day in days),
        bytes=sum(day.bytes for day in days),
        index_bytes=sum(day.index_bytes for day in days),
        compressed_days=len(packed),
        ratio=sum(day.before_bytes or 0 for day in packed) / after if after else None,
    )


def unused_indexes(conn: PgConnection, *, least_bytes: int = _LEAST_INDEX_BYTES) -> Sequence[UnusedIndex]:
    """Return the indexes of at least `least_bytes` that nothing used and no constraint needs, largest first."""
    with conn.cursor(row_factory=class_row(UnusedIndex)) as cursor:
        return cursor.execute(query("unused_indexes"), {"least_bytes": least_bytes}).fetchall()
