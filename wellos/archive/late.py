"""Late readings of days that are dropped: which days have some, and how such a day is archived anew."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from wellos.archive.archiving import archive_day
from wellos.archive.dropping import DropRefusedError, drop_day
from wellos.archive.obstacles import receipts, standing
from wellos.archive.restoring import refresh_day, restore_day
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from datetime import date

    from wellos.archive.dropping import Dropped
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["overlay_days", "rearchive"]


def overlay_days(conn: PgConnection) -> list[date]:
    """Return the days to be archived anew, oldest first: those dropped for which readings came since.

    And those with which that was begun: a day that was restored to be kept for no time.
    """
    return [day for (day,) in conn.execute(query("overlay_days"))]


def rearchive(settings: Settings, store: ColdStore, day: date, *, clock: Clock | None = None) -> Dropped:
    """Bring a day of `overlay_days` back, archive it with what came since, and drop it again.

    Cut off at any step, it is taken up there by the next call. DropRefusedError, before anything is done, when the day
    could not be dropped again now; other errors as of `restore_day`, `archive_day` and `drop_day`: the day is whole,
    in the warm or in the cold tier.
    """
    clock = clock or settings.make_clock()
    with connect(settings, autocommit=True) as conn:
        if reasons := standing(conn, day, clock.now(), settings):
            raise DropRefusedError(day, reasons)
        row = conn.execute("SELECT dropped_at FROM reading_days WHERE day = %s", (day,)).fetchone()
        if row is not None and row[0] is not None:
            restore_day(conn, store, day, clock.now(), timedelta(0))
        elif conn.execute("SELECT FROM aggregates_behind(%s, true)", (day,)).fetchone() is not None:
            refresh_day(conn, day)
        for one in receipts(conn, store.name, day):
            if one.receipt_id is None or one.stale:
                archive_day(settings, store, one.tenant, day, clock=clock)
        return drop_day(conn, store, day, clock.now(), settings)
