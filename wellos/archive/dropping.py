"""Lets a day of readings leave the warm tier, once every tenant's copy in the cold tier is proven again.

The cold store adds up its copies once more. Then, in one transaction in which nobody else writes readings of the day,
PostgreSQL counts and adds up every tenant's part anew, and only if each equals its receipt the chunk or partition is
dropped and the day marked as dropped. A reading that comes for it after that makes the day's overlay.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from wellos import aggregates
from wellos.aggregates import day_window
from wellos.archive.locks import lock_day
from wellos.archive.obstacles import obstacles, receipts
from wellos.archive.warm_side import warm_checksum
from wellos.errors import RetryableError, WellosError
from wellos.storage.cold import DamagedCopyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date, datetime

    from wellos.archive.obstacles import Receipt
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["DropRefusedError", "Dropped", "DroppingBusyError", "drop_day"]

_LOCK_TIMEOUT_S = 5
_ATTEMPTS = 5
_MAYBE_LATER = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A day that left the warm tier."""

    day: date
    tenants: int
    rows: int
    bytes: int
    """That its chunk or partition took, with its indexes."""
    seconds: float


class DropRefusedError(WellosError):
    """A day stays, and why."""

    def __init__(self, day: date, reasons: Sequence[str]) -> None:
        """Keep the reasons, each with its remedy, as data."""
        self.day, self.reasons = day, tuple(reasons)
        super().__init__(f"{day} is not dropped: " + "; ".join(reasons))


class DroppingBusyError(RetryableError):
    """Others were at the day's readings for too long."""


class _NotYetError(WellosError):
    """Worth another attempt."""


def drop_day(conn: PgConnection, store: ColdStore, day: date, now: datetime, settings: Settings) -> Dropped:
    """Drop a UTC day from the warm tier; `conn` is idle and in autocommit mode, `now` is platform time.

    DropRefusedError when anything speaks against it, DroppingBusyError or DayBusyError when it should be tried again,
    ColdError when the cold store cannot be asked. In all of these cases nothing changed.
    """
    began = time.monotonic()
    store.ready(writing=False)
    with lock_day(conn, day, shared=False, patience_s=_LOCK_TIMEOUT_S):
        if found := obstacles(conn, store.name, day, now, settings):
            raise DropRefusedError(day, found)
        if found := list(_differing_copies(store, day, receipts(conn, store.name, day))):
            raise DropRefusedError(day, found)
        conn.execute("SELECT ensure_readings_partitions(%s::date[])", ([day],))
        for attempt in range(_ATTEMPTS):
            try:
                _refresh(conn, day)
                with _aggregates_held(conn):
                    tenants, rows, freed = _drop(conn, store, day, now, settings)
                return Dropped(day, tenants, rows, freed, time.monotonic() - began)
            except (_NotYetError, *_MAYBE_LATER) as error:
                if attempt == _ATTEMPTS - 1:
                    raise DroppingBusyError(
                        f"{day} is not dropped now, others are at it: {error}. Try again"
                    ) from error
    raise AssertionError


def _differing_copies(store: ColdStore, day: date, found: Sequence[Receipt]) -> Iterator[str]:
    """Have the store add up its copies, and yield those that are not what their receipts say."""
    for one in found:
        remedy = f"archive it again: wellos archive --tenant {one.tenant} --from {day} --to {day}"
        try:
            lies = store.checksum(one.tenant, day)
        except DamagedCopyError as error:
            yield f"the copy of tenant {one.tenant} cannot be read ({error}): {remedy}"
            continue
        if lies != one.checksum:
            yield f"the copy of tenant {one.tenant} in {store.name} is no longer what its receipt says: {remedy}"


def _unequal(conn: PgConnection, day: date, proven: Sequence[Receipt]) -> Iterator[str]:
    """Have PostgreSQL add up each tenant's part, and yield those that are not what their receipts say."""
    for one in proven:
        found = warm_checksum(conn, one.tenant_id, day)
        if found != one.checksum:
            yield (
                f"the warm tier holds {found.rows:,} readings of tenant {one.tenant}, its copy {one.checksum.rows:,}"
                f"{', of other values' if found.rows == one.checksum.rows else ''}: "
                f"archive it again: wellos archive --tenant {one.tenant} --from {day} --to {day}"
            )


def _refresh(conn: PgConnection, day: date) -> None:
    """Have recomputed what may be stale: TimescaleDB logs a dropped day with the first moment of the next one."""
    for (relation,) in conn.execute("SELECT aggregates_behind(%s, true)", (day,)).fetchall():
        aggregates.refresh(conn, relation, *day_window(day))


@contextmanager
def _aggregates_held(conn: PgConnection) -> Iterator[None]:
    """Let nobody refresh aggregates meanwhile: a refresh that had begun would take the readings for deleted."""
    deadline = time.monotonic() + _LOCK_TIMEOUT_S
    while not _hold(conn):
        if time.monotonic() > deadline:
            raise _NotYetError("the aggregates are being refreshed")
        time.sleep(0.1)
    try:
        yield
    finally:
        if not conn.closed:
            conn.execute("SELECT release_aggregates()")


def _hold(conn: PgConnection) -> bool:
    with conn.transaction():  # the hold is the session's; only the patience is the transaction's
        _be_patient(conn)
        return conn.execute("SELECT hold_aggregates()").fetchone() == (True,)


def _be_patient(conn: PgConnection) -> None:
    conn.execute("SELECT set_config('lock_timeout', %s, true)", (f"{_LOCK_TIMEOUT_S}s",))


def _drop(conn: PgConnection, store: ColdStore, day: date, now: datetime, settings: Settings) -> tuple[int, int, int]:
    """Prove the day under its lock and drop it; return the tenants, readings and bytes that went."""
    with conn.transaction():
        _be_patient(conn)
        conn.execute("SELECT lock_readings_day(%s)", (day,))
        # from here on each statement sees all that anybody wrote of the day
        found = obstacles(conn, store.name, day, now, settings)
        proven = receipts(conn, store.name, day)
        if found := found or list(_unequal(conn, day, proven)):
            raise DropRefusedError(day, found)
        if conn.execute("SELECT FROM aggregates_behind(%s, true)", (day,)).fetchone() is not None:
            raise _NotYetError("a change is on its way to the aggregates")
        (freed,) = conn.execute("SELECT drop_readings_day(%s)", (day,)).fetchone() or (0,)
        conn.execute("UPDATE reading_days SET dropped_at = %s, keep_until = NULL WHERE day = %s", (now, day))
        return len(proven), sum(one.rows or 0 for one in proven), freed
