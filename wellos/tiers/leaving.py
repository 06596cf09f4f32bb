"""What becomes of the days that are past retention: dropped one by one, or kept, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from wellos.archive.dropping import DropRefusedError, drop_day
from wellos.archive.late import overlay_days, rearchive
from wellos.errors import RetryableError
from wellos.storage.sql import query
from wellos.storage.warm import connect
from wellos.tiers.warm import warm_days

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from wellos.archive.dropping import Dropped
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["Leaving", "drop_due_days", "past_retention", "rearchive_late_days"]


@dataclass(frozen=True, slots=True)
class Leaving:
    """What became of one day."""

    day: date
    outcome: Literal["dropped", "kept", "busy"]
    """busy: others were at it, the next run tries again."""
    reason: str = ""
    tenants: int = 0
    rows: int = 0
    bytes: int = 0
    """That its chunk or partition took."""
    seconds: float = 0.0


def past_retention(conn: PgConnection, settings: Settings, now: datetime) -> Sequence[date]:
    """Return the days past `raw_days` by platform time that were not dropped, oldest first."""
    last = (now - timedelta(days=settings.raw_days + 1)).date()
    gone = {row[0] for row in conn.execute(query("dropped_days"))}
    days = {item.day for item in warm_days(conn) if item.day is not None}
    days |= {row[0] for row in conn.execute(query("watched_days"))}  # a day without readings has no chunk
    return sorted(day for day in days - gone if day <= last)


def drop_due_days(
    conn: PgConnection, store: ColdStore, settings: Settings, clock: Clock, *, most: int
) -> Iterator[Leaving]:
    """Try to drop up to `most` days that are past retention, oldest first, and yield what became of each.

    What is wrong with the cold store or the database itself is raised.
    """
    for day in past_retention(conn, settings, clock.now())[:most]:
        yield _tried(day, lambda day=day: drop_day(conn, store, day, clock.now(), settings))  # type: ignore[misc]


def rearchive_late_days(settings: Settings, store: ColdStore, clock: Clock, *, most: int) -> Iterator[Leaving]:
    """Archive anew and drop again up to `most` dropped days for which readings came, and yield what became of each."""
    with connect(settings, autocommit=True) as conn:
        days = overlay_days(conn)[:most]
    for day in days:
        yield _tried(day, lambda day=day: rearchive(settings, store, day, clock=clock))  # type: ignore[misc]


def _tried(day: date, work: Callable[[], Dropped]) -> Leaving:
    try:
        done = work()
    except DropRefusedError as error:
        return Leaving(day, "kept", "; ".join(error.reasons))
    except RetryableError as error:
        return Leaving(day, "busy", str(error))
    return Leaving(day, "dropped", "", done.tenants, done.rows, done.bytes, round(done.seconds, 3))
