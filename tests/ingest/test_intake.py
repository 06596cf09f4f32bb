"""Intake and drain around a real journal: group commit, settling, a full spool, and books that agree."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest

from streaming.counters import Counters
from streaming.delivery import Delivery, Gap, Rejected
from streaming.drain import Drain
from streaming.extras import decode_extras
from streaming.intake import Intake
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.validate import Thresholds, Validator
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.registry import Connection, Tag
from wellos.settings import Settings, load_settings
from wellos.spool_format import Frame

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wellos.storage.warm import PgConnection

CLOCK = WallClock()
BASE = CLOCK.micros() - 3_600_000_000


def connection(number: int) -> Connection:
    tags = tuple(Tag(number * 10 + n, UUID(int=1), "W", f"t{n}", "a", high=1e9) for n in range(10))
    return Connection(number, UUID(int=1), "acme", f"c{number}", "mqtt", {}, tags)


def batch(number: int, first: int, rows: int) -> Readings:
    ids = np.arange(first, first + rows)
    return pack(BASE + ids, ids, number * 10 + ids % 10, Quality.GOOD)


class Rig:
    def __init__(self, folder: Path, *, quota: int = 1 << 24) -> None:
        self.journal = Journal(folder, quota_bytes=quota, segment_bytes=1 << 16, now_us=CLOCK.micros)
        self.counters = Counters()
        self.heard: list[tuple[str, int]] = []
        validator = Validator(Thresholds(future_tolerance_s=60, duplicate_window_s=60, late_after_s=6000))
        self.intake = Intake(self.journal, validator, CLOCK, self.counters, self._durable)
        self.intake.configure([connection(1), connection(2)])
        self.drain: Drain | None = None

    def _durable(self, batches: object) -> None:
        self.heard += [(tenant, len(readings)) for tenant, readings in batches]  # type: ignore[attr-defined]
        if self.drain is not None:
            self.drain.wake()

    def frames(self) -> list[Frame]:
        return [item for item in self.journal.read(1 << 30) if isinstance(item, Frame)]


@asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    task = asyncio.create_task(rig.intake.run())
    try:
        yield rig
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _note(settled: list[tuple[int, int]], number: int, journal: Journal) -> None:
    settled.append((number, journal.synced_seq))


async def test_settles_once_each_delivery_is_durable(tmp_path: Path) -> None:
    settled: list[tuple[int, int]] = []
    async with running(Rig(tmp_path)) as rig:
        for n in range(20):
            settle = partial(_note, settled, n, rig.journal)
            await rig.intake.emit(Delivery(1, CLOCK.micros(), batch(1, n * 5, 5), settle=settle))
        await rig.intake.settled()
    assert [n for n, _ in settled] == list(range(20))
    frames = rig.frames()
    assert len(frames) < 20, "what came during a commit goes into one frame"
    assert sum(frame.header.rows for frame in frames) == 100
    assert rig.heard == [("acme", frame.header.rows) for frame in frames]


async def test_a_settling_that_fails_stops_nothing(tmp_path: Path) -> None:
    settled: list[int] = []

    def broken() -> None:
        raise OSError("the peer is gone")

    async with running(Rig(tmp_path)) as rig:
        await rig.intake.emit(Delivery(1, 1, batch(1, 0, 5), settle=broken))
        await rig.intake.emit(Delivery(1, 1, batch(1, 5, 5), settle=lambda: settled.append(1)))
        await rig.intake.settled()
    assert settled == [1]


async def test_rejected_gaps_and_duplicates_go_with_the_frame(tmp_path: Path) -> None:
    async with running(Rig(tmp_path)) as rig:
        original = Rejected("malformed", "d", "s", b"x" * 10)
        twice = np.concatenate([batch(2, 0, 10), batch(2, 0, 10), batch(1, 0, 1)])
        await rig.intake.emit(Delivery(2, 1, twice, (original,), (Gap(1, 2, "poll_missed"),)))
        await rig.intake.settled()
    (frame,) = rig.frames()
    extras = decode_extras(frame.extras)
    rejected, gaps = extras.rejected, extras.gaps
    assert [item.reason for item in rejected] == ["malformed", "unknown_tag"]
    assert gaps == (Gap(1, 2, "poll_missed"),)
    header = frame.header
    assert (header.received, header.quarantined, header.duplicates, header.rows) == (22, 2, 10, 10)
    assert rig.counters.terms == {"received": 22, "quarantined": 2, "duplicates": 10, "shed": 0, "spooled": 10}


async def test_what_is_large_is_cut_into_frames(tmp_path: Path) -> None:
    async with running(Rig(tmp_path)) as rig:
        originals = tuple(Rejected("malformed", "d", "s", bytes([n]) * 5000) for n in range(20))
        huge = Rejected("malformed", "d", "s", b"h" * 500_000)
        await rig.intake.emit(Delivery(1, 1, batch(1, 0, 10_000), (*originals, huge), (Gap(1, 2, "x"),)))
        await rig.intake.settled()
    frames = rig.frames()
    assert all(frame.header.payload_length <= rig.journal.max_frame_bytes for frame in frames)
    assert np.concatenate([frame.readings for frame in frames]).tobytes() == batch(1, 0, 10_000).tobytes()
    kept = [item for frame in frames for item in decode_extras(frame.extras).rejected]
    assert tuple(kept[:20]) == originals
    assert "of 500000 bytes" in kept[20].detail
    assert sum(len(decode_extras(frame.extras).gaps) for frame in frames) == 1
    assert sum(frame.header.received for frame in frames) == 10_021


@pytest.mark.fault
async def test_a_full_spool_sheds_polls_makes_acknowledged_sources_wait_and_resumes(
    tmp_path: Path, database_settings: Settings, db: PgConnection
) -> None:
    rig = Rig(tmp_path / "spool", quota=1 << 20)
    settled: list[str] = []
    async with running(rig):
        sent = 0
        while not rig.intake.full:
            await rig.intake.emit(Delivery(1, CLOCK.micros(), batch(1, sent, 1000)))
            sent += 1000
            await asyncio.sleep(0.001)
        waiting = asyncio.create_task(
            rig.intake.emit(Delivery(2, CLOCK.micros(), batch(2, 0, 50), settle=lambda: settled.append("later")))
        )
        for number in range(30):
            await rig.intake.emit(Delivery(1, CLOCK.micros(), batch(1, 10_000_000 + number * 10, 10)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        sink = WarmSink(load_settings(database_url=database_settings.database_url), rig.journal.spool_id, CLOCK)
        rig.drain = Drain(rig.journal, sink, CLOCK, rig.counters, 5000)
        draining = asyncio.create_task(rig.drain.run())
        await asyncio.wait_for(waiting, 90)
        await rig.intake.settled()
        await rig.drain.caught_up()
        await rig.intake.emit(Delivery(1, CLOCK.micros(), batch(1, 20_000_000, 10)))
        await rig.intake.settled()
        await rig.drain.caught_up()
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        sink.close()
    assert settled == ["later"]
    books = audit(db, tmp_path / "spool")
    assert books.problems == []
    first = next(row for row in books.rows if row.connection_id == 1)
    assert first.shed >= 300
    assert first.shed + first.stored == sent + 310
    gaps = db.execute("SELECT reason, connection_id FROM ingest_gaps").fetchall()
    assert ("spool_full", 1) in gaps
    rig.journal.close()
