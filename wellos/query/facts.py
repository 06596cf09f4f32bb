"""What the database says of the days of a range: where their readings are, and what has changed in them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from psycopg.rows import scalar_row

from wellos.aggregates import day_window
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Day", "Facts", "read_cluster", "read_facts", "read_overlay_days"]

_STEP = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Day:
    """A watched UTC day. Equal: nothing about its readings has changed in between."""

    day: date
    settled: bool
    """Every change of it is noted."""
    dropped_at: datetime | None
    restored_at: datetime | None
    changes: int
    newest_change: int
    store: StoreName | None = None
    """Of a dropped day: the cold store that has the tenant's readings of it; None: it had no part in it."""
    archived: int | None = None
    """How many."""
    receipt_id: int | None = None
    """Which says so."""
    lost: str | None = None
    """Why that receipt is out of force; None: it is in force."""

    @property
    def place(self) -> tuple[datetime | None, datetime | None]:
        """Where its readings are: another place, another value."""
        return self.dropped_at, self.restored_at


@dataclass(frozen=True, slots=True)
class Facts:
    """Of one moment."""

    days: Mapping[date, Day]
    """Watched days; of any other the readings are warm."""
    stale: Sequence[tuple[datetime, datetime]] = ()
    """Where the aggregate that was asked about does not show yet what changed."""

    def place(self, day: date) -> tuple[datetime | None, datetime | None]:
        """Where the readings of a day are; one that is only watched meanwhile is where it was."""
        known = self.days.get(day)
        return (None, None) if known is None else known.place


def read_facts(
    conn: PgConnection, tenant_id: UUID, store: StoreName, start: datetime, end: datetime, relation: str | None
) -> Facts:
    """Read what is known of every day that [start, end) touches, and of the aggregate; needs autocommit mode."""
    days = {"first": start.date(), "last": (end - _STEP).date(), "tenant_id": tenant_id, "store": store}
    with conn.pipeline():
        known = conn.execute(query("query_days"), days, binary=True)
        if relation is None:
            stale = None
        else:
            stale = conn.execute(query("query_stale"), {"relation": relation, "start": start, "end": end}, binary=True)
    found = [Day(*row) for row in known.fetchall()]
    waiting = stale.fetchall() if stale is not None else []
    return Facts({day.day: day for day in found}, tuple((low, high) for low, high in waiting))


def read_cluster(conn: PgConnection) -> str:
    """Return what tells this database from any other, and from one that was put back to an earlier state."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return str(cursor.execute(query("query_cluster")).fetchone())


def read_overlay_days(conn: PgConnection, tag_ids: Sequence[int], days: Sequence[date]) -> set[date]:
    """Return those of these dropped days that readings of the tags came for since."""
    if not days:
        return set()
    span = {"start": day_window(min(days))[0], "end": day_window(max(days))[1]}
    with conn.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query("query_overlay_days"), {"tags": list(tag_ids), "days": list(days), **span}))
