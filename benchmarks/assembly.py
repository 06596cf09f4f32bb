"""Ingest without its adapters, for benchmarks: intake, checks, journal, drain and hot feed, wired as in the process."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.apply_fleet import fleet
from streaming.counters import Counters
from streaming.delivery import Delivery
from streaming.drain import Drain
from streaming.hotfeed import HotFeed
from streaming.intake import Intake
from streaming.sinks.hot import HotSink
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.validate import Thresholds, Validator
from wellos.clock import WallClock
from wellos.fleet.apply import apply
from wellos.readings import pack
from wellos.registry import load_connections
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["Assembly", "Field", "cpu_by_thread", "register"]

_STEP_US = 1_000_000


def register(settings: Settings, wells: int) -> tuple[Connection, ...]:
    """Put a field of so many wells, each a connection of 50 tags, into the registry and return its connections."""
    with connect(settings, autocommit=True) as connection:
        apply(connection, fleet(wells))
        return load_connections(connection)


class Field:
    """Readings of every tag of a field, a second after second, in deliveries as the adapters make them."""

    def __init__(self, connections: Sequence[Connection], start_us: int) -> None:
        """The first delivery of each connection is at `start_us`."""
        tags = np.array([tag.tag_id for item in connections for tag in item.tags], np.int32)
        rng = np.random.default_rng(1)
        self._values = rng.normal(1000, 50, (16, len(tags))).round(2)
        self._bounds: list[tuple[int, int, int]] = []
        at = 0
        for item in connections:
            self._bounds.append((item.connection_id, at, at + len(item.tags)))
            at += len(item.tags)
        self._template = pack(start_us + 1000 * (np.arange(len(tags)) % 900), 0.0, tags, 2)
        self.rows = len(tags)
        """Readings a second of field time."""

    def second(self, number: int) -> Readings:
        """Return the readings of one second of the field."""
        readings = self._template.copy()
        readings["time"] += number * _STEP_US
        readings["value"] = self._values[number % len(self._values)]
        return readings

    def deliveries(self, number: int, received_us: int) -> Iterator[Delivery]:
        """Yield one delivery a connection."""
        readings = self.second(number)
        for connection_id, first, end in self._bounds:
            yield Delivery(connection_id, received_us, readings[first:end])


class Assembly:
    """The parts of one ingest process, over the real servers of `settings`."""

    def __init__(self, settings: Settings, connections: Sequence[Connection], *, with_redis: bool) -> None:
        """Open the spool in the data folder."""
        self.clock, self.counters = WallClock(), Counters()
        self.journal = Journal(
            settings.data_dir / "spool",
            quota_bytes=settings.spool_quota_bytes,
            segment_bytes=settings.spool_segment_bytes,
            now_us=self.clock.micros,
        )
        validator = Validator(Thresholds.of(settings))
        self.intake = Intake(self.journal, validator, self.clock, self.counters, self._durable)
        self.warm = WarmSink(settings, self.journal.spool_id, self.clock)
        self.drain = Drain(self.journal, self.warm, self.clock, self.counters, settings.sink_batch_rows)
        self.sink = HotSink(settings, self.clock, str(self.journal.spool_id))
        self.feed = HotFeed(self.sink, settings, self.clock, self.counters, self.journal.progress)
        self._with_redis = with_redis
        self.intake.configure(connections)
        self.feed.configure(connections)

    def _durable(self, batches: Sequence[tuple[str, Readings]]) -> None:
        self.drain.wake()
        if self._with_redis:
            self.feed.offer(batches)

    @asynccontextmanager
    async def running(self, *, draining: bool = True) -> AsyncIterator[None]:
        """Run the parts until the block ends."""
        parts = [self.intake.run()]
        parts += [self.drain.run()] if draining else []
        parts += [self.feed.run()] if self._with_redis else []
        tasks = [asyncio.create_task(part) for part in parts]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def push(self, field: Field, seconds: range, most_pending: int | None = None) -> None:
        """Deliver these seconds of the field as fast as it goes, or never further ahead of the sinks than told."""
        for number in seconds:
            for delivery in field.deliveries(number, self.clock.micros()):
                await self.intake.emit(delivery)
            await asyncio.sleep(0)
            if most_pending is not None:
                await self._behind(most_pending)

    async def _behind(self, rows: int) -> None:
        while self._ahead > rows:  # noqa: ASYNC110 - two sinks, each of which counts for itself
            await asyncio.sleep(0.002)

    @property
    def _ahead(self) -> int:
        written = self.counters.hot["written"] + self.counters.hot["dropped"]
        hot = self.counters.terms["spooled"] - written if self._with_redis else 0
        return max(self.journal.pending_rows, hot)

    async def finished(self) -> None:
        """Wait until all that was delivered is durable, stored, and in Redis."""
        await self.intake.settled()
        await self.drain.caught_up()
        await self._behind(0)

    def close(self) -> None:
        """Close files and connections."""
        self.warm.close()
        self.sink.close()
        self.journal.close()


def cpu_by_thread() -> dict[tuple[int, str], float]:
    """CPU seconds that each thread of this process has used, by its number and the name of what it does."""
    found = {}
    for thread in threading.enumerate():
        assert thread.ident is not None
        name = thread.name.partition("_")[0].replace("MainThread", "event loop")
        found[thread.ident, name] = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
    return found


def spool_folder(folder: Path, name: str) -> Path:
    """Return a data folder of its own for one part of a benchmark."""
    made = folder / name
    made.mkdir()
    return made
