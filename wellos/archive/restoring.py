"""Brings a dropped day back to the warm tier: every tenant's readings, proven, in one transaction.

What came for the day while it was dropped, the overlay, is there already. Of two readings under one key the better
quality stays, then the overlay's, which was received later; the other goes to `reading_revisions`. The ledger counted
every reading of the overlay as stored when it came: what became of those that met another is booked by entries of a
spool of the day's own, so that the accounting identity holds. Memory is bounded by the pieces that the store yields,
and by what the overlay holds of their tags.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from wellos.aggregates import day_window
from wellos.archive.locks import lock_day
from wellos.archive.obstacles import receipts
from wellos.archive.overlay import Overlay
from wellos.archive.warm_side import warm_checksum
from wellos.errors import RetryableError, WellosError
from wellos.storage.changes import note_readings_changed
from wellos.storage.cold import Checksum, DamagedCopyError
from wellos.storage.cold.checksum import checksum
from wellos.storage.copy import copy_readings
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime, timedelta
    from typing import Any

    from wellos.archive.obstacles import Receipt
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["RestoreBusyError", "RestoreRefusedError", "Restored", "examine", "refresh_day", "restore_day"]

_ATTEMPTS = 5
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Restored:
    """A day that is in the warm tier again."""

    day: date
    tenants: int
    rows: int
    """Readings of the archive that were put back."""
    overlay: int
    """Readings that had come for the day since it was dropped; of these:"""
    repeated: int
    """equal to the archive's: kept once."""
    replaced: int
    """better than the archive's, or as good and later: they stay."""
    superseded: int
    """poorer than the archive's, which came back."""
    keep_until: datetime
    seconds: float


class RestoreRefusedError(WellosError):
    """A day cannot be brought back, and why; nothing changed."""

    def __init__(self, day: date, reasons: Sequence[str]) -> None:
        """Keep the reasons as data."""
        self.day, self.reasons = day, tuple(reasons)
        super().__init__(f"{day} is not restored: " + "; ".join(reasons))


class RestoreBusyError(RetryableError):
    """Readings came for the day all the time while it was being brought back; nothing changed."""


def restore_day(
    conn: PgConnection,
    store: ColdStore,
    day: date,
    now: datetime,
    keep: timedelta,
    progress: Callable[[int], None] = lambda _rows: None,
) -> Restored:
    """Bring a UTC day back and keep it at least for `keep`; `conn` is idle and in autocommit mode.

    `now` is platform time. `progress` is told of rows put back. Refreshes the day's aggregates in the end.
    RestoreRefusedError when the day is not dropped or a copy is not what its receipt says; DamagedCopyError and
    other errors of the store; DayBusyError and RestoreBusyError when it should be tried again. Nothing changed then.
    """
    began = time.monotonic()
    with lock_day(conn, day, shared=False, patience_s=_PATIENCE_S):
        proven = _proven(conn, store, day)
        conn.execute("SELECT make_readings_day(%s)", (day,))
        conn.execute("SELECT decompress_readings_day(%s)", (day,))
        overlay = _restored(conn, store, day, proven, {"now": now, "keep_until": now + keep}, progress)
        refresh_day(conn, day)
    counts = (overlay.rows, overlay.repeated, overlay.replaced, overlay.superseded)
    return Restored(day, len(proven), overlay.copied, *counts, now + keep, time.monotonic() - began)


def examine(conn: PgConnection, store: ColdStore, day: date) -> tuple[int, int]:
    """Return the tenants and readings that could be brought back, after reading every copy; errors as `restore_day`."""
    proven = _proven(conn, store, day)
    for one in proven:
        cold = Checksum()
        for piece in store.read_day(one.tenant, day):
            cold += checksum(piece)
        _compare(store, day, one, cold)
    return len(proven), sum(one.rows or 0 for one in proven)


def refresh_day(conn: PgConnection, day: date) -> None:
    """Make every aggregate right for a UTC day, finest first."""
    for (relation,) in conn.execute("SELECT relation FROM aggregate_levels ORDER BY level").fetchall():
        conn.execute("CALL refresh_aggregate(%s, %s, %s)", (relation, *day_window(day)))


def _proven(conn: PgConnection, store: ColdStore, day: date) -> list[Receipt]:
    row = conn.execute("SELECT dropped_at FROM reading_days WHERE day = %s", (day,)).fetchone()
    if row is None and not _holds(conn, day):
        raise RestoreRefusedError(day, ["nothing is known of it: it has no readings, and was never archived"])
    if row is None or row[0] is None:
        raise RestoreRefusedError(day, ["it was not dropped: its readings are in the warm tier"])
    lost = conn.execute(query("restore_unproven"), {"day": day}).fetchall()
    if lost:
        remedy = "bring the copy back from a backup of the cold store, then: wellos archive --verify"
        raise RestoreRefusedError(
            day,
            [
                f"receipt {number} of tenant {tenant} is {state} ({detail}): {remedy}"
                for tenant, number, state, detail in lost
            ],
        )
    elsewhere = conn.execute(query("restore_elsewhere"), {"day": day, "store": store.name}).fetchall()
    if elsewhere:
        raise RestoreRefusedError(
            day,
            [f"the copy of tenant {tenant} is in {other}, not in {store.name}" for tenant, other in elsewhere],
        )
    store.ready(writing=False)
    return [one for one in receipts(conn, store.name, day) if one.receipt_id is not None]


def _holds(conn: PgConnection, day: date) -> bool:
    since, until = day_window(day)
    asked = "SELECT EXISTS (SELECT FROM readings WHERE time >= %s AND time < %s)"
    return conn.execute(asked, (since, until)).fetchone() == (True,)


def _restored(
    conn: PgConnection,
    store: ColdStore,
    day: date,
    proven: Sequence[Receipt],
    when: dict[str, datetime],
    progress: Callable[[int], None],
) -> Overlay:
    for attempt in range(_ATTEMPTS):
        try:
            with conn.transaction(), conn.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                cursor.execute("SET LOCAL timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
                overlay = Overlay(cursor, day)
                for one in proven:
                    _restore_tenant(cursor, store, day, one, overlay, progress)
                overlay.book(when["now"])
                cursor.execute("SELECT invalidate_readings_day(%s)", (day,))
                note_readings_changed(cursor, [day])
                cursor.execute(query("restore_done"), when | {"day": day})
                return overlay
        except (psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation) as error:
            if attempt == _ATTEMPTS - 1:  # somebody wrote the same keys meanwhile, five times in a row
                raise RestoreBusyError(f"{day}: readings come for it all the time. Try again later") from error
    raise AssertionError


def _restore_tenant(
    cursor: psycopg.Cursor[Any],
    store: ColdStore,
    day: date,
    receipt: Receipt,
    overlay: Overlay,
    progress: Callable[[int], None],
) -> None:
    overlay.turn_to(receipt.tenant_id)
    cold = Checksum()
    for piece in store.read_day(receipt.tenant, day):
        cold += checksum(piece)
        fresh = overlay.meet(piece)
        if len(fresh):
            copy_readings(cursor, fresh)
        progress(len(fresh))
    _compare(store, day, receipt, cold)
    if warm_checksum(cursor.connection, receipt.tenant_id, day) != overlay.expected:
        raise RestoreRefusedError(
            day, [f"what was put back for tenant {receipt.tenant} adds up to other values than its copy: try again"]
        )


def _compare(store: ColdStore, day: date, receipt: Receipt, cold: Checksum) -> None:
    if cold != receipt.checksum:
        raise DamagedCopyError(
            f"{day}: the copy of tenant {receipt.tenant} in {store.name} is not what was proven when it was archived "
            f"({cold.rows:,} readings instead of {receipt.rows:,}, or other values). Nothing was restored: bring the "
            "copy back from a backup of the cold store"
        )
