"""The OPC UA server restarts (26): the outage is a gap, closed from the server's history; nothing is missing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from streaming.counters import Counters
from streaming.drain import Drain
from streaming.gaps import OpenGaps
from streaming.intake import Intake
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.supervise import Supervisor
from streaming.validate import Validator
from tests.adapters.test_opcua_adapter import OPEN
from tests.fix_adapters import free_port, make_connection, make_tag
from tests.fix_field import until
from wellos.clock import ScaledClock, WallClock
from wellos.readings import Flag
from wellos.settings import load_settings
from wellos.simulator import live
from wellos.simulator.field import Field
from wellos.simulator.opcua_server import OpcUaServer, ServedWell, node_address

if TYPE_CHECKING:
    from pathlib import Path

    from streaming.delivery import Delivery
    from wellos.clock import Clock
    from wellos.registry import Connection

pytestmark = pytest.mark.fault
_READINGS = "SELECT (extract(epoch FROM time) * 1000000)::bigint, tag_id FROM readings"
BEGIN_US = 1_772_366_400_000_000
"""2026-03-01 12:00 UTC: the same readings whenever the test runs."""


class Device:
    """The simulator's OPC UA server of one field, fed as platform time passes."""

    def __init__(self, port: int, clock: Clock) -> None:
        self.port, self.clock = port, clock
        self.field = Field(seed=3, wells=4, faults=False)
        self.wells = [ServedWell(well.name, tuple(tag.name for tag in well.tags)) for well in self.field.wells]
        counts = [len(well.tags) for well in self.wells]
        self.first = np.cumsum([1, *counts]).tolist()
        """The first tag id of each well."""

    async def start(self) -> None:
        now = self.clock.micros()
        numbers = range(len(self.wells))
        self.server = OpcUaServer(self.wells, live.OpcUaPast(self.field, numbers, self.clock))
        await self.server.start("127.0.0.1", self.port, [live.last_known(self.field, well, now) for well in numbers])
        outlet = live.OpcUa(self.server, numbers)
        self.feeding = asyncio.create_task(live.run_outlet(self.field, outlet, now, self.clock))

    async def stop(self) -> None:
        self.feeding.cancel()
        await asyncio.gather(self.feeding, return_exceptions=True)
        await self.server.close()

    def connection(self) -> Connection:
        settings = {"url": f"opc.tcp://127.0.0.1:{self.port}/", "publishing_interval_ms": 100.0, "watchdog_s": 30.0}
        addresses = [node_address(well.name, name) for well in self.wells for name in well.tags]
        tags = [make_tag(number, address, interval_s=5.0) for number, address in enumerate(addresses, start=1)]
        return make_connection("opcua", settings | OPEN | {"history_margin_s": 120.0}, tags)

    def sent(self, after_us: int, until_us: int) -> set[tuple[int, int]]:
        """Return time and tag of all that was measured."""
        found = set()
        for well, first in enumerate(self.first[:-1]):
            samples = self.field.samples(well, after_us, until_us)
            found |= {(time, first + tag) for time, tag in samples[["time", "tag_id"]].tolist()}
        return found


def stored(db: psycopg.Connection[Any]) -> set[tuple[int, int]]:
    return set(db.execute(_READINGS).fetchall())


async def test_the_server_restarts(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.supervise._LONGEST_PAUSE_S", 1.0)
    clock = ScaledClock(BEGIN_US, WallClock().micros(), 120.0)
    settings = load_settings(data_dir=tmp_path, database_url=database_url)
    counters, device = Counters(), Device(free_port(), clock)
    journal = Journal(tmp_path / "spool", quota_bytes=1 << 30, segment_bytes=1 << 20, now_us=clock.micros)
    sink = WarmSink(settings, journal.spool_id, clock)
    drain = Drain(journal, sink, clock, counters, batch_rows=5000)
    validator = Validator()
    intake = Intake(journal, validator, clock, counters, lambda _batches: drain.wake())
    historical: list[int] = []

    async def emit(delivery: Delivery) -> None:
        historical.extend(delivery.readings["time"][(delivery.readings["flags"] & Flag.HISTORICAL) != 0].tolist())
        await intake.emit(delivery)

    supervisor = Supervisor(emit, clock, counters, {}, OpenGaps(settings, clock).of)
    connection = device.connection()
    intake.configure([connection])
    tasks = [asyncio.create_task(intake.run()), asyncio.create_task(drain.run())]
    await device.start()
    await supervisor.apply([connection])
    status = supervisor.status[connection.connection_id]
    with psycopg.connect(database_url, autocommit=True) as db:
        await until(lambda: status.state == "connected")
        began = clock.micros()
        await asyncio.sleep(0.5)
        await device.stop()
        await asyncio.sleep(1.5)
        await device.start()
        await until(lambda: db.execute("SELECT count(closed_at) FROM ingest_gaps").fetchone() == (1,))
        ended = clock.micros()
        wanted = device.sent(began, ended)
        await until(lambda: wanted <= stored(db))
        await supervisor.stop()
        await intake.settled()
        await drain.caught_up()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        sink.close()
        await device.stop()
        rows = db.execute(_READINGS).fetchall()
        gaps = db.execute("SELECT reason, ended_at - started_at > '20 s', closed_at IS NOT NULL FROM ingest_gaps")
        assert gaps.fetchall() == [("disconnected", True, True)]
    assert len(historical) > 50, "something was missed, and read back"
    assert len(wanted) > 100
    assert len(rows) == len(set(rows)), "what was read twice is stored once"
