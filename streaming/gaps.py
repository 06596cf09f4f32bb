"""The gaps of a connection that are still open, from the database: what its source's history may close."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from streaming.delivery import Gap
from wellos.clock import to_micros
from wellos.errors import RetryableError, WellosError
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.clock import Clock
    from wellos.settings import Settings

__all__ = ["OpenGaps"]

_LOOK_BACK = timedelta(days=31)


class OpenGaps:
    """Looks into `ingest_gaps`, a connection of its own each time: it is asked seldom."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """No I/O yet."""
        self._settings, self._clock = settings, clock

    async def of(self, connection_id: int) -> Sequence[Gap]:
        """Return the open gaps of the last month, oldest first, a thousand at most; RetryableError: no database."""
        return await asyncio.to_thread(self._read, connection_id)

    def _read(self, connection_id: int) -> list[Gap]:
        parameters = {"connection_id": connection_id, "since": self._clock.now() - _LOOK_BACK}
        try:
            with connect(self._settings) as conn:
                rows = conn.execute(query("ingest_gaps_open"), parameters).fetchall()
        except (psycopg.Error, WellosError) as error:
            raise RetryableError(f"open gaps cannot be read: {error}") from error
        return [Gap(to_micros(start), to_micros(end), reason, tag_id) for start, end, reason, tag_id in rows]
