"""Late readings of days that are dropped: which days have some, and how such a day is archived anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.storage.sql import query

if TYPE_CHECKING:
    from datetime import date

    from wellos.storage.warm import PgConnection

__all__ = ["overlay_days"]


def overlay_days(conn: PgConnection) -> list[date]:
    """Return the days to be archived anew, oldest first: those dropped for which readings came since.

    And those with which that was begun: a day that was restored to be kept for no time.
    """
    return [day for (day,) in conn.execute(query("overlay_days"))]
