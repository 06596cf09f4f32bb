"""One snapshot of a day in which readings are exported and added up, by several connections that see the same.

A snapshot does not protect from what rewrites a day's tables outside of transactions' sight: decompression, or a
partition made of rows of the default one. The tables of the day are locked against that before the snapshot is taken.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import IsolationLevel, errors, sql

from wellos.errors import RetryableError
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date, datetime

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["DaySnapshot", "SnapshotError", "open_snapshot"]

_TRIES = 20
_PATIENCE = "60s"


class SnapshotError(RetryableError):
    """The tables of the day are being rewritten."""


@dataclass(frozen=True, slots=True)
class DaySnapshot:
    """A transaction that sees one state of a day, and how others come to see it."""

    settings: Settings
    day: date
    conn: PgConnection
    snapshot: str
    """As `pg_snapshot`: a change that is not visible in it came later."""
    cluster: str
    exported: str
    taken_at: datetime
    """By the platform's clock."""

    @contextmanager
    def another(self) -> Iterator[PgConnection]:
        """Yield a second connection, in a transaction that sees the same."""
        with connect(self.settings) as conn:
            _begin(conn)
            conn.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(self.exported)))
            yield conn


@contextmanager
def open_snapshot(settings: Settings, day: date, clock: Clock) -> Iterator[DaySnapshot]:
    """Take a snapshot in which a UTC day can be read until the end of the block.

    Raises SnapshotError when the day's tables cannot be had within a minute, or change all the time.
    """
    with connect(settings) as conn:
        for _ in range(_TRIES):
            locked = _lock(conn, day)
            if locked is None:
                continue
            taken_at = clock.now()  # before the snapshot: it sees at least what was committed until then
            row = conn.execute(query("export_snapshot")).fetchone()
            assert row is not None  # noqa: S101 - the query has no FROM
            if _relations(conn, day) == locked:
                yield DaySnapshot(settings, day, conn, row[0], row[1], row[2], taken_at)
                return
            conn.rollback()
    raise SnapshotError(f"{day}: its chunks or partitions changed {_TRIES} times while it was looked at. Try again")


def _begin(conn: PgConnection) -> None:
    conn.rollback()
    conn.isolation_level = IsolationLevel.REPEATABLE_READ
    conn.read_only = True


def _relations(conn: PgConnection, day: date) -> list[str]:
    return sorted(str(row[0]) for row in conn.execute("SELECT relations_of_day(%s)::text", (day,)))


def _lock(conn: PgConnection, day: date) -> list[str] | None:
    """Begin a transaction that holds the tables of the day and has no snapshot yet; None: one has just gone."""
    found = _relations(conn, day)
    _begin(conn)
    conn.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_PATIENCE))
    for name in found:
        try:
            conn.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(sql.SQL(name)))  # quoted by regclass
        except errors.UndefinedTable:
            return None
        except errors.LockNotAvailable as error:
            message = f"{day}: {name} has been locked by somebody else for a minute. See pg_stat_activity, try again"
            raise SnapshotError(message) from error
    return found
