"""Why a day of readings may not leave the warm tier now: each reason with the names concerned and its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from psycopg.rows import class_row, scalar_row

from wellos.aggregates import day_window
from wellos.clock import pace
from wellos.storage.cold import Checksum
from wellos.storage.sql import query
from wellos.verdicts import HEARTBEAT_S, LAG_ERROR_S

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from uuid import UUID

    from wellos.settings import Settings
    from wellos.storage.cold import StoreName
    from wellos.storage.warm import PgConnection

__all__ = ["Receipt", "droppable", "obstacles", "receipts", "standing", "unproven"]

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Receipt:
    """A tenant that owns tags, and what its receipt in force says of one day; None where there is no receipt."""

    tenant: str
    tenant_id: UUID
    receipt_id: int | None
    rows: int | None
    checksum_a: int | None
    checksum_b: int | None
    stale: bool | None
    watermark: datetime | None

    @property
    def checksum(self) -> Checksum:
        """Of the copy."""
        return Checksum(self.rows or 0, self.checksum_a or 0, self.checksum_b or 0)


@dataclass(frozen=True, slots=True)
class _Instance:
    """An ingest instance whose spool may hold readings, by its last heartbeat."""

    spool_id: str
    hostname: str
    pid: int
    heartbeat_at: datetime
    stopped_at: datetime | None
    spool_rows: int
    oldest: datetime | None
    committed_to: datetime | None

    def __str__(self) -> str:
        return f"the ingest instance of spool {self.spool_id} (process {self.pid} on {self.hostname})"

    def waits_s(self, now: datetime) -> float:
        """Return for how long something received has waited to be stored, at the most."""
        if self.oldest is None:
            return 0.0
        return min((now - bound).total_seconds() for bound in (self.oldest, self.committed_to) if bound is not None)


def obstacles(conn: PgConnection, store: StoreName, day: date, now: datetime, settings: Settings) -> list[str]:
    """Return why a UTC day may not be dropped now, given its copies in one store; empty when nothing is known against.

    `now` is platform time. That the readings still equal their copies is proven when the day is dropped.
    """
    found = [*_of_the_day(conn, day), *standing(conn, day, now, settings)]
    found += [*unproven(receipts(conn, store, day), store, day), *_of_aggregates(conn, day)]
    return found or list(_of_unknown_tags(conn, day))


def standing(conn: PgConnection, day: date, now: datetime, settings: Settings) -> list[str]:
    """Return those of the reasons that time alone removes, or a person, whatever is done with the day."""
    return [*_of_time(conn, day, now, settings), *_of_ingest(conn, day, now, pace(settings.make_clock()))]


def droppable(conn: PgConnection, store: StoreName, now: datetime, settings: Settings) -> list[date]:
    """Return the days that could be dropped now, oldest first."""
    last = (now - timedelta(days=settings.raw_days + 1)).date()
    values = {"last": last, "now": now, "store": store}
    with conn.cursor(row_factory=scalar_row) as cursor:
        candidates = cursor.execute(query("drop_candidates"), values).fetchall()
    return [day for day in candidates if not obstacles(conn, store, day, now, settings)]


def receipts(conn: PgConnection, store: StoreName, day: date) -> Sequence[Receipt]:
    """Return every tenant that owns tags, live or retired, with its receipt of a day in one store."""
    with conn.cursor(row_factory=class_row(Receipt)) as cursor:
        return cursor.execute(query("drop_receipts"), {"day": day, "store": store}).fetchall()


def unproven(found: Sequence[Receipt], store: StoreName, day: date) -> Iterator[str]:
    """Yield what is wrong with the receipts of a day."""
    for one in found:
        remedy = f"archive it: wellos archive --tenant {one.tenant} --from {day} --to {day}"
        if one.receipt_id is None:
            yield f"tenant {one.tenant} has no verified copy of it in {store}: {remedy}"
        elif one.stale:
            yield f"readings of tenant {one.tenant} may have changed since it was archived: {remedy}"


def _of_the_day(conn: PgConnection, day: date) -> Iterator[str]:
    row = conn.execute("SELECT dropped_at FROM reading_days WHERE day = %s", (day,)).fetchone()
    if row is not None and row[0] is not None:
        yield f"it was dropped already, at {row[0]:%Y-%m-%d %H:%M:%S} UTC"


def _of_time(conn: PgConnection, day: date, now: datetime, settings: Settings) -> Iterator[str]:
    leaves = day_window(day)[1] + timedelta(days=settings.raw_days)
    if now < leaves:
        yield f"it is younger than WELLOS_RAW_DAYS={settings.raw_days} days: it may go from {leaves:%Y-%m-%d} on"
    row = conn.execute("SELECT keep_until FROM reading_days WHERE day = %s", (day,)).fetchone()
    if row is not None and row[0] is not None and row[0] > now:
        yield f"it was restored and is kept until {row[0]:%Y-%m-%d %H:%M:%S} UTC"


def _of_aggregates(conn: PgConnection, day: date) -> Iterator[str]:
    with conn.cursor(row_factory=scalar_row) as cursor:
        behind = cursor.execute("SELECT aggregates_behind(%s, false)", (day,)).fetchall()
    if behind:
        yield f"{', '.join(behind)} are not right for it yet: await their refresh, or CALL refresh_aggregates()"


def _of_ingest(conn: PgConnection, day: date, now: datetime, speed: float) -> Iterator[str]:
    end = day_window(day)[1]
    for one in (_Instance(*row) for row in conn.execute(query("drop_instances"))):
        if one.stopped_at is not None:
            if one.oldest is None or one.oldest < end:
                yield (
                    f"{one} stopped with {one.spool_rows:,} readings in its spool, some of that day or older: "
                    f"start ingest on it again, or `wellos ingest --forget {one.spool_id}`"
                )
            continue
        if now - one.heartbeat_at > timedelta(seconds=HEARTBEAT_S * speed):
            yield (
                f"{one} has been silent since {one.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC: "
                f"start it again, or `wellos ingest --forget {one.spool_id}`"
            )
        elif one.oldest is not None and one.oldest < end:
            yield f"{one} holds readings from {one.oldest:%Y-%m-%d %H:%M:%S} UTC on in its spool: await its drain"
        elif one.waits_s(now) > LAG_ERROR_S * speed:
            yield f"{one} is {one.waits_s(now):,.0f} s behind: see `wellos status`"


def _of_unknown_tags(conn: PgConnection, day: date) -> Iterator[str]:
    since, until = day_window(day)
    rows = conn.execute(query("drop_unknown_tags"), {"since": since, "until": until}).fetchall()
    if rows:
        names = ", ".join(str(tag) for (tag,) in rows[:_SHOWN]) + (", ..." if len(rows) > _SHOWN else "")
        yield f"it holds readings of tags that the registry does not know ({names}), which no archive has"
