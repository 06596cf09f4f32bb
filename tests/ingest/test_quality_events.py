"""Episodes all the way: found on the way in, through the spool and the sink into `quality_events`, and read back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from streaming.counters import Counters
from streaming.delivery import Delivery
from streaming.drain import Drain
from streaming.intake import Intake
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.validate import StateFile, Validator
from tests.seed import add_tags
from wellos.cli import main
from wellos.quality import Quality
from wellos.readings import pack
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

NOW = 1_763_700_000_000_000
MINUTE = 60_000_000
Run = Callable[..., tuple[int, str]]


class Clock:
    """Platform time as the test says."""

    now_us = NOW

    def micros(self) -> int:
        return self.now_us

    def monotonic(self) -> float:
        return self.now_us / 1e6


class Process:
    """Intake, drain and sink of one process after another over the same folder."""

    def __init__(self, folder: Path, settings: Settings, connection: Connection) -> None:
        self.clock, self.counters = Clock(), Counters()
        self.journal = Journal(folder / "spool", quota_bytes=1 << 24, segment_bytes=1 << 20, now_us=self.clock.micros)
        validator, memory = Validator(), StateFile(folder)
        memory.load(validator)
        self.intake = Intake(
            self.journal,
            validator,
            self.clock,  # type: ignore[arg-type]
            self.counters,
            lambda _batches: None,
            memory=memory,
        )
        self.intake.configure([connection])
        self.sink = WarmSink(settings, self.journal.spool_id, self.clock)  # type: ignore[arg-type]
        self.drain = Drain(self.journal, self.sink, self.clock, self.counters, 5000)  # type: ignore[arg-type]

    async def take(self, *deliveries: tuple[int, int, float]) -> None:
        """Take one reading after another: (minute, tag, value)."""
        tasks = [asyncio.create_task(part) for part in (self.intake.run(), self.drain.run())]
        for minute, tag_id, value in deliveries:
            self.clock.now_us = NOW + minute * MINUTE
            readings = pack([self.clock.now_us], [value], [tag_id], [Quality.GOOD])
            await self.intake.emit(Delivery(1, self.clock.now_us, readings))
            await self.intake.settled()
            self.drain.wake()
        await asyncio.wait_for(self.drain.caught_up(), 90)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def die(self) -> None:
        self.sink.close()
        self.journal.close()


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_settings: Settings, tmp_path: Path
) -> Run:
    monkeypatch.chdir(tmp_path)
    assert database_settings.database_url is not None
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_settings.database_url.get_secret_value())

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["wellos", "quality", "events", *arguments])
        capsys.readouterr()  # the log of what ran before
        with pytest.raises(SystemExit) as caught:
            main()
        return int(caught.value.code or 0), capsys.readouterr().out

    return run


def events(run: Run, *arguments: str) -> list[dict[str, Any]]:
    status, out = run("--json", *arguments)
    assert status == 0
    return list(json.loads(out))


def test_an_unknown_tenant_is_an_error(db: PgConnection, run: Run) -> None:
    add_tags(db)
    assert run("--tenant", "acne") == (2, "")
    assert run("--tenant", "acme") == (0, "nothing was found that was asked for\n")


async def test_from_reading_to_row_across_a_kill(
    tmp_path: Path, db: PgConnection, database_settings: Settings, run: Run
) -> None:
    first, second = add_tags(db, 2)
    tags = tuple(Tag(n, UUID(int=1), "PB-001", f"tag_{n}", "a", low=0.0, high=100.0) for n in (first, second))
    row = db.execute("SELECT connection_id FROM scada_connections").fetchone()
    assert row == (1,)
    connection = Connection(1, UUID(int=1), "acme", "plc", "modbus", {}, tags)
    process = Process(tmp_path, database_settings, connection)
    await process.take((0, first, 50.0), (1, first, 150.0), (2, first, 150.0), (3, second, 50.0))
    assert process.counters.findings["acme", "range"] == 2
    (opened,) = events(run, "--open")
    assert (opened["check_name"], opened["severity"], opened["state"]) == ("range", "ERROR", "open")
    assert (opened["well_name"], opened["tag_name"], opened["evidence"]["limit"]) == ("PB-001", "tag_1", 100.5)
    process.die()  # without a word: the state was never saved
    process = Process(tmp_path, database_settings, connection)
    await process.take((4, first, 150.0), (25, first, 50.0), (60, first, 180.0))
    process.die()
    again, closed = events(run, "--well", "PB-001", "--check", "range")
    assert (closed["event_id"], closed["state"]) == (opened["event_id"], "ended")
    assert closed["evidence"]["count"] == 2  # one after the restart, one of those before, of which one was not yet said
    assert again["state"] == "open"
    assert events(run, "--tag", "tag_2") == []
    status, out = run("--limit", "1")
    assert status == 0
    assert "acme/PB-001/tag_1" in out


async def test_what_lost_its_end_is_not_shown_as_open(
    tmp_path: Path, db: PgConnection, database_settings: Settings, run: Run
) -> None:
    (tag_id,) = add_tags(db, 1)
    tag = Tag(tag_id, UUID(int=1), "PB-001", "tag_1", "a", low=0.0, high=100.0)
    connection = Connection(1, UUID(int=1), "acme", "plc", "modbus", {}, (tag,))
    for minute, name in ((0, "a"), (5, "b")):  # another folder: nothing is known of the first process
        process = Process(tmp_path / name, database_settings, connection)
        await process.take((minute, tag_id, 150.0))
        process.die()
    assert [item["state"] for item in events(run)] == ["open", "left open"]
    assert len(events(run, "--open")) == 1
