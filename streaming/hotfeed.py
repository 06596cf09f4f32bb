"""From the journal to Redis: what just became durable, through a bounded queue; what it missed comes from PostgreSQL.

Redis being away or slow costs nothing but memory up to the bound: then the oldest waiting batches are dropped, and once
Redis is back the hours they belong to are filled from the warm tier. Beside all that, closed hours are packed.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import redis
import structlog

from streaming.worker import Worker
from wellos.clock import pace
from wellos.errors import WellosError
from wellos.storage import hot, warm
from wellos.storage.copy import iter_readings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streaming.counters import Counters
    from streaming.sinks.hot import HotSink
    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["HotFeed"]

_MOST_ROWS = 200_000
_PAUSE_S = 2.0
_FILL_PAUSE_S = 10.0
_LOOK_EVERY_S = 0.3
_STEP_US = hot.HOUR_US
"""Span of one query; its answer comes in pieces."""
_PACK_EVERY_S, _SHORTEST_PACK_S = 30.0, 1.0
_PACK_GROUPS = 8
"""Packed in one go, some 25 ms of work: then others have their turn."""
_PACK_PAUSE_S = 0.05

log = structlog.get_logger(__name__)


class HotFeed:
    """The way out to the hot tier."""

    def __init__(
        self,
        sink: HotSink,
        settings: Settings,
        clock: Clock,
        counters: Counters,
        progress: Callable[[], tuple[int, int]],
    ) -> None:
        """`progress` tells the journal's last durable sequence, and up to which one all is in PostgreSQL."""
        self._sink, self._settings, self._clock, self._counters = sink, settings, clock, counters
        self._progress = progress
        self._queue: deque[tuple[str, Readings]] = deque()
        self._rows = 0
        self._ready = asyncio.Event()
        self._writer, self._packer = Worker("hot"), Worker("pack")
        self._tags: list[int] = []
        self._missing_since: int | None = None
        self._missing_until_seq = 0
        """Once this sequence of the journal is stored, PostgreSQL has all that Redis misses."""
        self._filler: asyncio.Task[None] | None = None
        self._fill_after = 0.0
        self._stopping = False
        self.available = False
        """The last write succeeded."""

    def configure(self, connections: Sequence[Connection]) -> None:
        """Take the tags of these connections."""
        tags: dict[str, list[int]] = {}
        for connection in connections:
            tags.setdefault(connection.tenant, []).extend(tag.tag_id for tag in connection.tags)
        self._sink.configure(tags)
        self._tags = [tag for ids in tags.values() for tag in ids]

    def offer(self, batches: Sequence[tuple[str, Readings]]) -> None:
        """Queue batches of (tenant, readings); never waits."""
        for tenant, readings in batches:
            if len(readings):
                self._queue.append((tenant, readings))
                self._rows += len(readings)
        while self._rows > _MOST_ROWS and len(self._queue) > 1:
            self._drop(self._queue.popleft()[1])
        self._ready.set()

    def missed(self, since_us: int) -> None:
        """Have the hours since then filled from PostgreSQL: a process before this one did not get to write them."""
        self._miss(since_us)

    async def run(self) -> None:
        """Feed for ever, and pack what is closed."""
        beside = [
            asyncio.create_task(self._pack_closed(), name="pack Redis"),
            asyncio.create_task(self._look_for_gaps(), name="look whether Redis can be filled"),
        ]
        try:
            await self._feed()
        finally:
            for task in beside:
                task.cancel()

    async def _feed(self) -> None:
        while True:
            await self._ready.wait()
            self._ready.clear()
            if not self._queue:
                continue
            batches = _join(self._queue)
            self._queue.clear()
            self._rows = 0
            try:
                filled = await self._writer.run(self._write, batches)
            except (redis.RedisError, WellosError) as error:
                self._failed(error, batches)
                await asyncio.sleep(_PAUSE_S)
                continue
            if not self.available:
                log.info("readings go to Redis")
            self.available = True
            if not filled and not self._filling() and self._missing_since is None:
                self._miss(self._clock.micros() - self._settings.hot_hours * hot.HOUR_US)
            self._start_filling()

    async def _pack_closed(self) -> None:
        """Pack closed hours, some groups at a time; what fails is left for the next round."""
        while True:
            await asyncio.sleep(max(_SHORTEST_PACK_S, _PACK_EVERY_S / pace(self._clock)))
            try:
                names = await self._packer.run(self._sink.closed) if self.available else []
                for at in range(0, len(names), _PACK_GROUPS):
                    await self._packer.run(self._pack, names[at : at + _PACK_GROUPS])
                    await asyncio.sleep(_PACK_PAUSE_S)
            except (redis.RedisError, WellosError, ValueError) as error:
                log.warning("hours in Redis could not be packed; it will be tried again", reason=str(error))

    async def _look_for_gaps(self) -> None:
        """Start filling also when old readings are stored a moment after each write, or none come any more."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self.available:
                self._start_filling()

    def _pack(self, names: Sequence[tuple[int, int]]) -> None:
        for group, hour in names:
            self._counters.hot["packed"] += self._sink.pack(group, hour)

    def stop(self) -> None:
        """Let a filling under way end after its next step."""
        self._stopping = True

    def _write(self, batches: dict[str, Readings]) -> bool:
        """Write each tenant's readings; false when Redis lacks hours that it should have."""
        filled = True
        for tenant, readings in batches.items():
            filled &= self._sink.write(tenant, readings, complete=self._missing_since is None)
            self._counters.hot["written"] += len(readings)
        return filled

    def _failed(self, error: Exception, batches: dict[str, Readings]) -> None:
        if self.available or not self._counters.hot["errors"]:
            log.warning("Redis is not available; ingest goes on without it", reason=str(error))
        self._counters.hot["errors"] += 1
        self.available = False
        for readings in batches.values():
            self._drop(readings)

    def _drop(self, readings: Readings) -> None:
        self._rows = sum(len(waiting) for _, waiting in self._queue)
        self._counters.hot["dropped"] += len(readings)
        self._miss(int(readings["time"].min()))

    def _miss(self, since_us: int) -> None:
        """Note what Redis lacks: from a source time on, as far as the journal has come."""
        self._missing_since = since_us if self._missing_since is None else min(self._missing_since, since_us)
        self._missing_until_seq = self._progress()[0]

    def _filling(self) -> bool:
        return self._filler is not None and not self._filler.done()

    def _start_filling(self) -> None:
        """Once what Redis missed is in PostgreSQL, bring it from there, beside what goes on."""
        since = self._missing_since
        if since is None or self._filling() or self._clock.monotonic() < self._fill_after:
            return
        if self._progress()[1] >= self._missing_until_seq:
            self._missing_since = None
            self._filler = asyncio.create_task(self._fill(since), name="fill Redis")

    async def _fill(self, since: int) -> None:
        try:
            rows = await asyncio.to_thread(self._copy, since)
        except (psycopg.Error, redis.RedisError, WellosError) as error:
            log.warning("Redis could not be filled from the database; it will be tried again", reason=str(error))
            self._fill_after = self._clock.monotonic() + _FILL_PAUSE_S
            self._miss(since)
            return
        log.info("what Redis missed was filled from the database", readings=rows)

    def _copy(self, since_us: int) -> int:
        rows = 0
        self._sink.mark(filled=False)
        with warm.connect(self._settings) as connection:
            now = self._clock.micros()
            oldest = now - self._settings.hot_hours * hot.HOUR_US
            read_at = _server_micros(connection) if since_us <= oldest else self._sink.filled_at
            start = max(since_us, oldest)
            while start <= now and not self._stopping:
                for readings in iter_readings(connection, self._tags, start, start + _STEP_US):
                    self._sink.append(readings)
                    rows += len(readings)
                start += _STEP_US
        if not self._stopping and self._missing_since is None:  # nothing more was missed meanwhile
            self._sink.mark(filled=True, at=read_at)
        return rows


def _server_micros(connection: warm.PgConnection) -> int:
    row = connection.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint").fetchone()
    return int(row[0]) if row else 0


def _join(queue: deque[tuple[str, Readings]]) -> dict[str, Readings]:
    by_tenant: dict[str, list[Readings]] = {}
    for tenant, readings in queue:
        by_tenant.setdefault(tenant, []).append(readings)
    return {tenant: np.concatenate(parts) for tenant, parts in by_tenant.items()}
