"""From the journal to PostgreSQL: in order, as much a transaction as there is, again until it is in."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import numpy as np
import structlog

from streaming.sinks.warm import RefusedError, UnavailableError
from streaming.worker import Worker
from wellos.spool_format import Frame

if TYPE_CHECKING:
    from streaming.counters import Counters
    from streaming.sinks.warm import Committed, WarmSink
    from streaming.spool import Journal
    from wellos.clock import Clock
    from wellos.spool_format import Item

__all__ = ["Drain"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _REFUSED_PAUSE_S = 0.2, 10.0, 15.0
_TOLD = ("frames", "skipped", "lost", "stored", "repeated", "replaced", "superseded", "poisoned")

log = structlog.get_logger(__name__)


class Drain:
    """The way out to the warm tier."""

    def __init__(self, journal: Journal, sink: WarmSink, clock: Clock, counters: Counters, batch_rows: int) -> None:
        """`batch_rows`: most readings in one transaction."""
        self._journal, self._sink, self._clock, self._counters = journal, sink, clock, counters
        self._batch_rows = batch_rows
        self._worker = Worker("drain")
        self._more, self._caught_up = asyncio.Event(), asyncio.Event()
        self.available = False
        """The last commit succeeded."""

    def wake(self) -> None:
        """Tell that the journal has more."""
        self._caught_up.clear()
        self._more.set()

    async def caught_up(self) -> None:
        """Wait until everything durable is stored."""
        await self._caught_up.wait()

    async def run(self) -> None:
        """Drain for ever."""
        while True:
            self._more.clear()
            items = await self._worker.run(self._journal.read, self._batch_rows)
            if not items:
                if not self._more.is_set():
                    self._caught_up.set()
                await self._more.wait()
                continue
            done = await self._commit(items)
            if done is None:
                continue
            await self._worker.run(self._journal.advance, items)
            self._count(items, done)

    async def _commit(self, items: list[Item]) -> Committed | None:
        """Return what became of the items; None when the database has lost older ones, which come first now."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                if not self._sink.connected and await self._worker.run(self._rewind):
                    return None
                done = await self._worker.run(self._sink.commit, items)
            except UnavailableError as error:
                self._failed("unavailable", error)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, _LONGEST_PAUSE_S)
            except RefusedError as error:
                self._failed("refused", error)
                await asyncio.sleep(_REFUSED_PAUSE_S * random.uniform(0.5, 1))  # noqa: S311 - same
            else:
                if not self.available:
                    log.info("readings go to the database", pending_rows=self._journal.pending_rows)
                self.available = True
                return done

    def _rewind(self) -> bool:
        """After a reconnect: go back to where the ledger ends, if that is behind what was stored."""
        journal = self._journal
        stored, kept = journal.stored_seq, journal.kept_seq
        if not stored:
            return False
        reach = self._sink.committed_up_to(kept, stored)
        if reach >= stored:
            return False
        journal.rewind(reach)
        self._counters.stored["rewound"] += stored - reach
        found = {"stored_seq": stored, "ledger_seq": reach, "kept_from_seq": kept}
        if kept > reach + 1:
            log.error("the database has lost readings that the spool no longer keeps", lost=kept - 1 - reach, **found)
        log.warning("the database has lost commits: storing what is kept again", **found)
        return True

    def _failed(self, kind: str, error: Exception) -> None:
        self._counters.sink_errors[kind] += 1
        self.available = False
        message = "the database is not available" if kind == "unavailable" else "the database refuses readings"
        log.warning(message, reason=str(error), pending_rows=self._journal.pending_rows)

    def _count(self, items: list[Item], done: Committed) -> None:
        self._counters.stored.update({name: getattr(done, name) for name in _TOLD})
        times = [item.readings["time"] for item in items if isinstance(item, Frame)]
        if times and not done.skipped:
            self._counters.count_latency(np.concatenate(times), self._clock.micros())
