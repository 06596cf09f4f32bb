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
from pathlib import Path
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
from wellos.settings import load_settings

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


async def _run(data_dir: Path, url: str, first: int) -> None:
    settings, clock = load_settings(data_dir=data_dir, database_url=url), WallClock()
    journal = Journal(
        data_dir / "spool",
        quota_bytes=settings.spool_quota_bytes,
        segment_bytes=min(settings.spool_segment_bytes, 1 << 18),
        now_us=clock.micros,
        keep_bytes=settings.spool_keep_bytes,
        keep_s=settings.spool_keep_s,
    )
    counters = Counters()
    validator = Validator(Thresholds(future_tolerance_s=60, duplicate_window_s=60, late_after_s=600))
    sink = WarmSink(settings, journal.spool_id, clock)
    drain = Drain(journal, sink, clock, counters, batch_rows=2000)
    intake = Intake(journal, validator, clock, counters, lambda _batches: drain.wake())
    intake.configure([_connection()])
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    os.write(1, b"up\n")
    tasks = [asyncio.create_task(intake.run()), asyncio.create_task(drain.run())]
    for task in tasks:
        task.add_done_callback(lambda _task: stop.set())
    number = first
    while not stop.is_set() and first >= 0:
        settle = _Ack(number)
        await intake.emit(Delivery(1, clock.micros(), readings_of(number), settle=settle))
        number += 1
        await asyncio.sleep(0.0005)
    await stop.wait()
    for task in tasks:
        if task.done():
            task.result()
    await intake.settled()
    await drain.caught_up()
    os.write(1, f"end {json.dumps(counters.stored)}\n".encode())
    for task in tasks:
        task.cancel()


class _Ack:
    def __init__(self, number: int) -> None:
        self._number = number

    def __call__(self) -> None:
        os.write(1, f"ack {self._number}\n".encode())


if __name__ == "__main__":
    asyncio.run(_run(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
