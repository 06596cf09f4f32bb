"""Who may work on a day: archivers share it, a drop or a restore has it alone, and one archiver has a tenant's part.

Advisory locks of a database session: they hold across its transactions and go with it, a killed process's too.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING

from psycopg import errors

from wellos.errors import RetryableError
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from wellos.storage.warm import PgConnection

__all__ = ["DayBusyError", "lock_copy", "lock_day"]

_CLASS = 0x77656C6C  # the letters of `well`: the first key of every day's lock
_NEGATIVE = -(1 << 31)  # keeps the locks of copies apart from those of days
_EPOCH = date(2000, 1, 1)


class DayBusyError(RetryableError):
    """Another session works on this day."""

    def __init__(self, what: str, day: date, holders: list[str]) -> None:
        """Name the day and the sessions that hold it, as the server knows them."""
        self.day, self.holders = day, tuple(holders)
        by = ", ".join(holders) or "a session that has just ended"
        super().__init__(f"{day}: {what} is being worked on by {by}. Wait for it to end, then try again")


@contextmanager
def lock_day(conn: PgConnection, day: date, *, shared: bool, patience_s: float = 60) -> Iterator[None]:
    """Hold a UTC day: `shared` to archive it, alone to drop or restore it. The connection must be in autocommit mode.

    Raises DayBusyError when it is not to be had within `patience_s`.
    """
    with _lock(conn, _CLASS, (day - _EPOCH).days, shared=shared, patience_s=patience_s) as holders:
        if holders is not None:
            raise DayBusyError("the day", day, holders)
        yield


@contextmanager
def lock_copy(conn: PgConnection, tenant_id: UUID, day: date, store: str) -> Iterator[None]:
    """Hold one tenant's cold copy of a day in one store, alone, without waiting; DayBusyError. Autocommit as well."""
    name = f"{tenant_id} {day} {store}".encode()
    key, part = struct.unpack("!ii", hashlib.blake2b(name, digest_size=8).digest())
    with _lock(conn, key | _NEGATIVE, part, shared=False, patience_s=0) as holders:
        if holders is not None:
            raise DayBusyError("this tenant's copy", day, holders)
        yield


@contextmanager
def _lock(conn: PgConnection, key: int, part: int, *, shared: bool, patience_s: float) -> Iterator[list[str] | None]:
    """Yield None while the lock is held, or who holds it."""
    suffix = "_shared" if shared else ""
    try:
        with conn.transaction():  # the lock is the session's; only the patience is the transaction's
            conn.execute("SELECT set_config('lock_timeout', %s, true)", (f"{max(1, round(patience_s * 1000))}ms",))
            conn.execute(f"SELECT pg_advisory_lock{suffix}(%s::integer, %s::integer)", (key, part))
    except errors.LockNotAvailable:
        yield [str(row[0]) for row in conn.execute(query("archive_lock_holders"), {"key": key, "part": part})]
        return
    try:
        yield None
    finally:
        if not conn.closed:  # a broken one took its locks along
            conn.execute(f"SELECT pg_advisory_unlock{suffix}(%s::integer, %s::integer)", (key, part))
