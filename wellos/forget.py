"""Closes the books on an ingest instance that is gone for good, and says what may be lost with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem
from wellos.storage.sql import query

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from wellos.storage.warm import PgConnection

__all__ = ["Forgotten", "forget"]


@dataclass(frozen=True, slots=True)
class Forgotten:
    """An instance as its last heartbeat left it."""

    spool_id: UUID
    hostname: str
    pid: int
    heartbeat_at: datetime
    rows: int
    """Readings that its spool held then."""
    oldest: datetime | None
    """Source time of the oldest of them."""

    def __str__(self) -> str:
        """Say what may be lost."""
        text = f"forgot the instance of spool {self.spool_id} (process {self.pid} on {self.hostname})"
        if self.rows == 0 and self.oldest is None:
            return f"{text}: at its last heartbeat, {self.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC, all it had was stored"
        since = "" if self.oldest is None else f", the oldest of {self.oldest:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f"{text}: at its last heartbeat, {self.heartbeat_at:%Y-%m-%d %H:%M:%S} UTC, its spool held {self.rows:,} "
            f"readings that were not stored{since}; they, and whatever it received later, are lost unless its folder "
            "is found again: starting ingest on it still stores them"
        )


def forget(conn: PgConnection, spool_id: UUID, now: datetime) -> Forgotten:
    """Close the row of an instance; ConfigurationError for one that lives, has stopped, or is not known.

    `conn` is in autocommit mode; `now` is platform time.
    """
    row = conn.execute(query("ingest_instance"), {"spool_id": spool_id}).fetchone()
    if row is None:
        raise _refusal(spool_id, "no such instance", "See `wellos status --json` and the table ingest_instances.")
    hostname, pid, heartbeat_at, stopped_at, rows, oldest, forgotten_at, alive = row
    if alive:
        raise _refusal(spool_id, f"lives: process {pid} on {hostname}", "Stop it first; it then says goodbye itself.")
    if stopped_at is not None and (not rows or forgotten_at is not None):
        raise _refusal(spool_id, f"is closed since {stopped_at:%Y-%m-%d %H:%M:%S} UTC", "There is nothing to do.")
    conn.execute(query("ingest_forget"), {"spool_id": spool_id, "now": now})
    return Forgotten(spool_id, hostname, pid, heartbeat_at, rows, oldest)


def _refusal(spool_id: UUID, message: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Problem(message, remedy, field="--forget", value=str(spool_id))])
