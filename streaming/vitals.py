"""How this process is: its rate, how long its spool lasts, when each peer was last heard, told with every heartbeat."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import psycopg
import structlog

from streaming.config import keep, write_heard
from streaming.heartbeat import SpoolState
from streaming.level import SpoolLevel
from wellos.errors import WellosError

if TYPE_CHECKING:
    from streaming.counters import Counters
    from streaming.heartbeat import Heartbeat
    from streaming.running import Running
    from streaming.spool import Journal
    from wellos.clock import Clock
    from wellos.settings import Settings

__all__ = ["Vitals"]

_BEAT_S = 5.0
_NOTES_A_BEAT = 5
"""A lease carries when its peer was last heard: where the next owner's gap begins."""
_SETTLE_S = 2.0

log = structlog.get_logger(__name__)


class Vitals:
    """Measured and told every few seconds."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        journal: Journal,
        counters: Counters,
        running: Running,
        heartbeat: Heartbeat,
        heard: dict[int, int],
    ) -> None:
        """`heard` is kept up to date with what is durable."""
        self._settings, self._journal, self._counters = settings, journal, counters
        self._running, self._heartbeat, self._durable = running, heartbeat, heard
        self.level = SpoolLevel(journal, counters, clock)

    async def beat(self) -> None:
        """Measure and tell for ever."""
        while True:
            for _ in range(_NOTES_A_BEAT):
                await asyncio.sleep(_BEAT_S / _NOTES_A_BEAT)
                await self._note()
            self.level.measure()
            keep(write_heard, self._settings.data_dir, self._durable)
            try:
                await asyncio.to_thread(self.say)
            except (psycopg.Error, WellosError) as error:
                log.warning("the heartbeat could not be written", reason=str(error))

    async def _note(self) -> None:
        """Only what is durable counts as heard: while the spool is full, what was noted before stands."""
        heard = self._running.heard()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._running.settled(), _SETTLE_S)
            self._durable.update(heard)

    def save_heard(self, heard: dict[int, int]) -> None:
        """Keep what is durable of that."""
        self._durable.update(heard)
        keep(write_heard, self._settings.data_dir, heard)

    def say(self, *, stopped: bool = False) -> None:
        """Write the heartbeat; blocking."""
        journal, running = self._journal, self._running
        state = SpoolState(journal.oldest_us, journal.pending_rows, journal.used_bytes, self.level.seconds_left)
        self._heartbeat.beat(
            state,
            running.connections(),
            running.status(),
            dict(self._counters.by_connection),
            stopped=stopped,
        )
