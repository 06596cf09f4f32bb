"""The heartbeat of the process in the database: its spool and its connections, for everybody who wants to know."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from streaming.adapters import adapter_class
from streaming.link import cut, watch_peer
from wellos.clock import from_micros
from wellos.storage import warm
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.registry import Connection
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["Heartbeat", "SpoolState"]


@dataclass(frozen=True, slots=True)
class SpoolState:
    """What the heartbeat says of the spool."""

    oldest_us: int | None
    rows: int
    bytes: int
    seconds_left: float | None


class Heartbeat:
    """One connection to the database. Blocking; called from one thread at a time."""

    def __init__(self, settings: Settings, spool_id: UUID, clock: Clock) -> None:
        """No I/O: the first beat connects."""
        self._settings, self._spool_id, self._clock = settings, spool_id, clock
        self._started_us = clock.micros()
        self._connection: PgConnection | None = None
        self._told: dict[int, int] = {}
        self._told_at = clock.monotonic()

    def beat(
        self,
        spool: SpoolState,
        connections: Mapping[int, Connection],
        status: Mapping[int, Status],
        readings: Mapping[int, int],
        *,
        stopped: bool = False,
    ) -> None:
        """Record the state of this process; `readings` counts since the start of the process, by connection.

        psycopg.Error or UnreachableError: nothing was recorded, the next beat connects again.
        """
        if self._connection is None:
            self._connection = warm.connect(self._settings, autocommit=True)
            watch_peer(self._connection)
        now, moment = self._clock.now(), self._clock.monotonic()
        instance = {
            "spool_id": self._spool_id,
            "hostname": socket.gethostname(),
            "pid": os.getpid(),
            "started_at": from_micros(self._started_us),
            "now": now,
            "oldest": None if spool.oldest_us is None else from_micros(spool.oldest_us),
            "rows": spool.rows,
            "bytes": spool.bytes,
            "left": spool.seconds_left,
            "stopped_at": now if stopped else None,
        }
        rows = self._rows(connections, status, readings, moment - self._told_at)
        rows |= {"spool_id": self._spool_id, "now": now}
        try:
            with self._connection.transaction():
                self._connection.execute(query("ingest_heartbeat"), instance)
                self._connection.execute(query("ingest_heartbeat_connections"), rows)
        except psycopg.Error:
            self.close()
            raise
        self._told, self._told_at = dict(readings), moment

    def abort(self) -> None:
        """From another thread: cut the connection, so that a beat that waits for a silent server fails now."""
        cut(self._connection)

    def close(self) -> None:
        """Close the connection; the next beat opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _rows(
        self,
        connections: Mapping[int, Connection],
        status: Mapping[int, Status],
        readings: Mapping[int, int],
        seconds: float,
    ) -> dict[str, Any]:
        ids = [key for key in status if key in connections]
        added = [readings.get(key, 0) - self._told.get(key, 0) for key in ids]
        return {
            "connection_id": ids,
            "state": [status[key].state for key in ids],
            "since": [from_micros(status[key].since_us) for key in ids],
            "last_reading_at": [
                from_micros(status[key].last_reading_us) if status[key].last_reading_us else None for key in ids
            ],
            "error": [status[key].error.replace("\0", "") for key in ids],
            "loss_window": [adapter_class(connections[key].protocol).loss_window for key in ids],
            "added": added,
            "per_s": [n / seconds if seconds > 0 else 0.0 for n in added],
        }
