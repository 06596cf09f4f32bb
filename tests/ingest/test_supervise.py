"""Supervision: a new adapter after every failure, one connection never stopping another, changes applied singly."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar
from uuid import UUID

import pytest

from streaming import adapters, supervise
from streaming.counters import Counters
from streaming.delivery import ConnectionLost, Delivery, Status
from streaming.supervise import Supervisor
from wellos.clock import Clock, WallClock
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Source:
    """An adapter that does what its connection's configuration says."""

    loss_window: ClassVar[str] = "nothing"
    built: ClassVar[list[tuple[int, int]]] = []
    changed: ClassVar[list[tuple[int, int]]] = []

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        self.connection, self.clock, self.status = connection, clock, status
        Source.built.append((connection.connection_id, status.heard_us))
        if connection.config.get("broken"):
            raise ValueError("planted")

    async def change(self, connection: Connection) -> bool:
        if connection.config.get("unchanging"):
            raise RuntimeError("planted")
        if connection.config.get("slow"):
            await asyncio.Event().wait()
        Source.changed.append((connection.connection_id, len(connection.tags)))
        return bool(connection.config.get("takes"))

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        self.status.state = "connected"
        self.status.heard_us += 1
        await emit(Delivery(self.connection.connection_id, 1))
        if self.connection.config.get("flaky"):
            raise ConnectionLost("gone")
        if self.connection.config.get("ends"):
            return
        await asyncio.Event().wait()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(adapters.ADAPTERS, "mqtt", f"{__name__}:Source")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr(supervise, "_SHORTEST_PAUSE_S", 0.001)
    monkeypatch.setattr(supervise, "_LONGEST_PAUSE_S", 0.002)
    monkeypatch.setattr(supervise, "_CHANGE_S", 0.05)
    Source.built.clear()
    Source.changed.clear()


def connection(number: int, tags: int = 1, **config: bool) -> Connection:
    made = tuple(Tag(n, UUID(int=1), "W", f"t{n}", "a") for n in range(tags))
    return Connection(number, UUID(int=1), "acme", f"c{number}", "mqtt", dict(config), made)


class Rig:
    def __init__(self, heard: dict[int, int] | None = None) -> None:
        self.delivered: list[int] = []
        self.counters = Counters()
        self.supervisor = Supervisor(self.emit, WallClock(), self.counters, heard or {})

    async def emit(self, delivery: Delivery) -> None:
        self.delivered.append(delivery.connection_id)

    async def until(self, check: Callable[[], bool]) -> None:
        async with asyncio.timeout(90):
            while not check():  # noqa: ASYNC110 - what it waits for are counters, not events
                await asyncio.sleep(0.002)


async def test_every_failure_gets_a_new_adapter_and_the_same_status() -> None:
    rig = Rig({1: 100})
    await rig.supervisor.apply([connection(1, flaky=True)])
    await rig.until(lambda: len(Source.built) >= 4)
    await rig.supervisor.stop()
    assert Source.built[:4] == [(1, 100), (1, 101), (1, 102), (1, 103)]
    assert rig.counters.restarts["acme", "c1"] >= 3
    assert rig.supervisor.status[1].state == "stopped"


async def test_a_broken_connection_stops_no_other() -> None:
    rig = Rig()
    await rig.supervisor.apply([connection(1, broken=True), connection(2), connection(3, ends=True)])
    await rig.until(lambda: rig.delivered.count(3) >= 3 and rig.counters.restarts["acme", "c1"] >= 3)
    assert rig.delivered.count(2) == 1
    assert rig.supervisor.status[2].state == "connected"
    assert "ValueError: planted" in rig.supervisor.status[1].error
    await rig.supervisor.stop()


async def test_connections_of_two_tenants_may_have_one_name() -> None:
    rig, other = Rig(), replace(connection(2, flaky=True), tenant="beta", name="c1")
    await rig.supervisor.apply([connection(1), other])
    await rig.until(lambda: rig.counters.restarts["beta", "c1"] >= 2)
    await rig.supervisor.stop()
    assert rig.counters.restarts["acme", "c1"] == 0


async def test_only_what_changed_is_started_again() -> None:
    rig = Rig()
    await rig.supervisor.apply([connection(1), connection(2), connection(3)])
    await rig.until(lambda: len(rig.delivered) == 3)
    await rig.supervisor.apply([connection(1), connection(2, tags=2), connection(4)])
    await rig.until(lambda: len(rig.delivered) == 5)
    assert sorted(number for number, _ in Source.built) == [1, 2, 2, 3, 4]
    assert set(rig.supervisor.connections) == {1, 2, 4}
    assert rig.supervisor.status[3].state == "stopped"
    await rig.supervisor.stop()


async def test_an_adapter_that_takes_a_change_over_goes_on() -> None:
    rig = Rig()
    before = [connection(1, takes=True), connection(2, unchanging=True), connection(3, slow=True), connection(4)]
    await rig.supervisor.apply(before)
    await rig.until(lambda: len(rig.delivered) == 4)
    after = [replace(item, tags=connection(9, tags=5).tags) for item in before]
    await rig.supervisor.apply(after)
    await rig.until(lambda: len(rig.delivered) == 7)
    assert sorted(number for number, _ in Source.built) == [1, 2, 2, 3, 3, 4, 4]
    assert Source.changed == [(1, 5), (4, 5)]
    assert {key: len(item.tags) for key, item in rig.supervisor.connections.items()} == dict.fromkeys(range(1, 5), 5)
    await rig.supervisor.stop()


async def test_a_connection_that_was_taken_away_is_not_tried_again() -> None:
    rig = Rig()
    asked = 0

    async def confirm() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            taken.set()
            await asyncio.Event().wait()

    taken = asyncio.Event()
    rig.supervisor = Supervisor(rig.emit, WallClock(), rig.counters, {}, confirm=confirm)
    await rig.supervisor.apply([connection(1, flaky=True)])
    async with asyncio.timeout(90):
        await taken.wait()
    await rig.supervisor.apply([])
    assert len(Source.built) == 3
    assert rig.supervisor.status[1].state == "stopped"


async def test_a_new_owner_begins_where_the_old_one_last_heard() -> None:
    heard: dict[int, int] = {}
    rig = Rig(heard)
    rig.supervisor = Supervisor(rig.emit, WallClock(), rig.counters, heard)
    await rig.supervisor.apply([connection(1)])
    await rig.until(lambda: len(Source.built) == 1)
    await rig.supervisor.apply([])
    heard[1] = 700
    await rig.supervisor.apply([connection(1)])
    await rig.until(lambda: len(Source.built) == 2)
    await rig.supervisor.stop()
    assert Source.built == [(1, 0), (1, 700)]
