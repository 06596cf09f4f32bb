"""What becomes of the days that are past retention: dropped one by one, or kept, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg.rows import scalar_row

from wellos.archive.dropping import DropRefusedError, drop_day
from wellos.archive.late import overlay_days, rearchive
from wellos.errors import RetryableError, UnreachableError, WellosError
from wellos.storage.cold import ColdRetryError, NotTheArchiveError
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from wellos.archive.dropping import Dropped
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore, StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Leaving", "drop_due_days", "past_retention", "rearchive_late_days"]

_STORE_PATIENCE = 3
"""Days in a row for which the cold store does not answer, after it was asked again and again for each."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """What became of one day."""

    day: date
    outcome: Literal["dropped", "kept", "busy", "failed"]
    """busy: others were at it, the next run tries again. failed: somebody has to look."""
    reason: str = ""
    tenants: int = 0
    rows: int = 0
    bytes: int = 0
    """That its chunk or partition took."""
    seconds: float = 0.0


def past_retention(conn: PgConnection, store: StoreName, settings: Settings, now: datetime) -> Sequence[date]:
    """Return the days past `raw_days` by platform time that are in the warm tier, oldest first.

    A day without readings is one of them once it is archived in the store.
    """
    last = (now - timedelta(days=settings.raw_days + 1)).date()
    with conn.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query("days_past_retention"), {"last": last, "store": store}).fetchall()


def drop_due_days(
    conn: PgConnection, store: ColdStore, settings: Settings, clock: Clock, *, most: int
) -> Iterator[Leaving]:
    """Drop up to `most` of the days that are past retention, oldest first, and yield what became of each tried.

    Days that stay do not count, so that those behind them have their turn; one that fails stops no other. A server
    that is not there, and a cold store that is not the archive, is raised.
    """
    days = past_retention(conn, store.name, settings, clock.now())
    return _each(days, lambda day: drop_day(conn, store, day, clock.now(), settings), most, conn)


def rearchive_late_days(settings: Settings, store: ColdStore, clock: Clock, *, most: int) -> Iterator[Leaving]:
    """Archive anew and drop again up to `most` dropped days for which readings came; as `drop_due_days` otherwise."""
    with connect(settings, autocommit=True) as conn:
        days = overlay_days(conn)
    return _each(days, lambda day: rearchive(settings, store, day, clock=clock), most)


def _each(
    days: Sequence[date], work: Callable[[date], Dropped], most: int, conn: PgConnection | None = None
) -> Iterator[Leaving]:
    """Yield what becomes of each day until `most` were dropped."""
    dropped = silent = 0
    for day in days:
        if dropped == most:
            return
        try:
            done = work(day)
        except (UnreachableError, NotTheArchiveError):
            raise
        except DropRefusedError as error:
            silent = 0
            yield Leaving(day, "kept", "; ".join(error.reasons))
        except RetryableError as error:
            silent = silent + 1 if isinstance(error, ColdRetryError) else 0
            if silent == _STORE_PATIENCE:
                raise
            yield Leaving(day, "busy", str(error))
        except (WellosError, psycopg.Error, OSError) as error:
            if conn is not None and conn.closed:
                raise
            silent = 0
            yield Leaving(day, "failed", " ".join(str(error).split()))
        else:
            silent, dropped = 0, dropped + 1
            yield Leaving(day, "dropped", "", done.tenants, done.rows, done.bytes, round(done.seconds, 3))
