"""Whether every day of readings is in a tier: what the aggregates counted must be in the warm or in the cold one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Gap", "gaps"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A tenant's closed day that is in no tier, or not all of it."""

    tenant: str
    day: date
    rows: int
    """Readings that the daily aggregate counted."""
    dropped: bool
    """By the books its readings are in the cold tier; otherwise they should be in the warm one."""
    in_warm: bool
    """The warm tier holds readings of this day."""
    archived: int | None
    """Readings by the receipt in force; None without one."""

    @property
    def reason(self) -> str:
        """What is wrong, in a sentence."""
        if not self.dropped:
            proof = "no receipt says that they are archived" if self.archived is None else "they were archived"
            return f"the warm tier has none of its {self.rows:,} readings although the day was not dropped; {proof}"
        if self.archived is None:
            return f"its {self.rows:,} readings were dropped, and no receipt is in force"
        return f"the aggregates counted {self.rows:,} readings, its receipt {self.archived:,}"


def gaps(conn: PgConnection, store: StoreName, now: datetime) -> Sequence[Gap]:
    """Return the closed days of each tenant that are in no tier as a whole, oldest first.

    What aggregates no longer keep, and days that were never refreshed, are not seen.
    """
    with conn.cursor(row_factory=class_row(Gap)) as cursor:
        return cursor.execute(query("coverage"), {"now": now, "store": store}).fetchall()
