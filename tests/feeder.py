"""An ingest process with a source that knows every reading it sent: run as a child, to be killed.

`python -m tests.feeder DATA_DIR DATABASE_URL FIRST` prints `up`, sends deliveries FIRST, FIRST + 1, ... and prints
`ack N` once N is acknowledged; on SIGTERM it stops sending, stores what is left and prints `end {counts}`. With FIRST
-1 it only drains. When intake or drain cannot go on it ends with their error.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np

from streaming.counters import Counters
from streaming.delivery import Delivery
from streaming.drain import Drain
from streaming.intake import Intake
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.validate import Thresholds, Validator
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.registry import Connection, Tag
from wellos.settings import Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROWS = 40
TAGS = 8
BASE_US = 1_763_000_000_000_000


def readings_of(number: int) -> Readings:
    """Return the readings of one delivery: each has a time of its own, and a value that follows from it."""
    ids = np.arange(number * ROWS, (number + 1) * ROWS)
    return pack(BASE_US + ids, ids * 0.25, 1 + ids % TAGS, Quality.GOOD, ids % 7)


def _connection() -> Connection:
    tags = tuple(Tag(n, UUID(int=1), "W", f"t{n}", "a") for n in range(1, TAGS + 1))
    return Connection(1, UUID(int=1), "acme", "feed", "mqtt", {}, tags)


@dataclass(slots=True)
class Parts:
    """Ingest between its adapters and PostgreSQL."""

    journal: Journal
    counters: Counters
    sink: WarmSink
    drain: Drain
    intake: Intake

    @asynccontextmanager
    async def running(self) -> AsyncIterator[list[asyncio.Task[None]]]:
        """Take in and drain, in these two tasks; afterwards everything is closed."""
        tasks = [asyncio.create_task(self.intake.run()), asyncio.create_task(self.drain.run())]
        try:
            yield tasks
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.sink.close()
            self.journal.close()

    async def stored(self) -> None:
        """Wait until all that was delivered is stored."""
        await self.intake.settled()
        await self.drain.caught_up()


def assemble(settings: Settings, *, batch_rows: int = 2000) -> Parts:
    """Wire them as in the process, with small segments."""
    clock, counters = WallClock(), Counters()
    journal = Journal(
        settings.data_dir / "spool",
        quota_bytes=settings.spool_quota_bytes,
        segment_bytes=min(settings.spool_segment_bytes, 1 << 18),
        now_us=clock.micros,
        keep_bytes=settings.spool_keep_bytes,
        keep_s=settings.spool_keep_s,
    )
    validator = Validator(Thresholds(future_tolerance_s=60, duplicate_window_s=60, late_after_s=600))
    sink = WarmSink(settings, journal.spool_id, clock)
    drain = Drain(journal, sink, clock, counters, batch_rows=batch_rows)
    intake = Intake(journal, validator, clock, counters, lambda _batches: drain.wake())
    intake.configure([_connection()])
    return Parts(journal, counters, sink, drain, intake)


async def _run(data_dir: Path, url: str, first: int) -> None:
    parts, clock = assemble(load_settings(data_dir=data_dir, database_url=url)), WallClock()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    os.write(1, b"up\n")
    number = first
    async with parts.running() as tasks:
        for task in tasks:
            task.add_done_callback(lambda _task: stop.set())
        while not stop.is_set() and first >= 0:
            settle = _Ack(number)
            await parts.intake.emit(Delivery(1, clock.micros(), readings_of(number), settle=settle))
            number += 1
            await asyncio.sleep(0.0005)
        await stop.wait()
        for task in tasks:
            if task.done():
                task.result()
        await parts.stored()
    os.write(1, f"end {json.dumps(parts.counters.stored)}\n".encode())


class _Ack:
    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self) -> None:
        os.write(1, f"ack {self._number}\n".encode())


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
