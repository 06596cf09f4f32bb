"""What every adapter must do, whatever its protocol: one suite, a real peer for each."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from streaming.adapters import ADAPTERS, adapter_class
from streaming.delivery import Status
from tests.adapters import test_modbus_adapter as modbus
from tests.adapters import test_mqtt_adapter as mqtt
from tests.adapters import test_opcua_adapter as opcua
from tests.fix_adapters import Collector, Session, free_port, make_connection, make_tag, running
from wellos.clock import WallClock
from wellos.embedded.broker import running_broker
from wellos.errors import ConfigurationError
from wellos.quality import Quality
from wellos.readings import READING

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from wellos.embedded.server import RunningServer
    from wellos.registry import Connection


class Peer(Protocol):
    """A device or broker with tag 100, and tag 101 that cannot be read."""

    connection: Connection

    async def produce(self, value: int) -> None: ...

    async def stop(self) -> None: ...

    async def start(self) -> None: ...


class OpcUaPeer:
    def __init__(self, _folder: Path) -> None:
        self.port = free_port()
        self.connection = opcua.connection_to(self.port, "a", "missing")
        self.context: AbstractAsyncContextManager[opcua.Field]

    async def start(self) -> None:
        self.context = opcua.field(["a"], self.port)
        self.field = await self.context.__aenter__()

    async def produce(self, value: int) -> None:
        await self.field.write("a", float(value))

    async def stop(self) -> None:
        await self.context.__aexit__(None, None, None)


class ModbusPeer:
    def __init__(self, _folder: Path) -> None:
        self.port = free_port()
        self.connection = modbus.connection_to(self.port, "1:holding:5:uint16", "1:holding:7:uint16", interval_s=0.05)
        self.context: AbstractAsyncContextManager[modbus.Device]

    async def start(self) -> None:
        self.context = modbus.device(self.port)
        self.device = await self.context.__aenter__()
        self.device.illegal = {7}

    async def produce(self, value: int) -> None:
        self.device.registers[5] = value

    async def stop(self) -> None:
        await self.context.__aexit__(None, None, None)


class MqttPeer:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker: RunningServer | None = None
        self.port = free_port()
        self.connection = mqtt.connection_to(self.port, "t#/values/a", "t#/values/b")

    async def start(self) -> None:
        self.context = running_broker(self.folder / "mqtt", port=self.port, implementation="mosquitto")
        self.broker = await asyncio.to_thread(self.context.__enter__)

    async def produce(self, value: int) -> None:
        with mqtt.publisher(self.port) as source:
            await source.publish("t", {"time": mqtt.FIRST_S + value, "values": {"a": value, "b": "broken"}})

    async def stop(self) -> None:
        await asyncio.to_thread(self.context.__exit__, None, None, None)


PEERS: dict[str, Any] = {"opcua": OpcUaPeer, "modbus": ModbusPeer, "mqtt": MqttPeer}


@pytest.fixture(params=sorted(ADAPTERS))
def peer(request: pytest.FixtureRequest, tmp_path: Path) -> Peer:
    if request.param == "mqtt":
        mqtt_needs_broker(request)
    made: Peer = PEERS[request.param](tmp_path)
    return made


def mqtt_needs_broker(request: pytest.FixtureRequest) -> None:
    request.getfixturevalue("mqtt_broker")


async def connected(collector: Collector, status: Status) -> None:
    await collector.until(lambda: status.state == "connected")


async def test_it_delivers_and_one_bad_tag_does_not_stop_the_other(peer: Peer) -> None:
    await peer.start()
    collector, status = Collector(), Status()
    try:
        async with running(peer.connection, collector, status):
            await connected(collector, status)
            for value in (1, 2, 3):
                await peer.produce(value)
                await collector.until(lambda value=value: float(value) in collector.values(100))  # type: ignore[misc]
            await collector.until(lambda: len(collector.of(101)) > 0 or bool(collector.rejected))
    finally:
        await peer.stop()
    readings = collector.readings
    assert readings.dtype == READING
    assert (readings["quality"][np.isnan(readings["value"])] == Quality.BAD).all()
    assert not np.isin(collector.of(101)["quality"], [Quality.GOOD]).any()
    assert {delivery.connection_id for delivery in collector.deliveries} == {peer.connection.connection_id}
    assert status.last_reading_us > 0
    assert status.heard_us >= status.last_reading_us > status.since_us - 10**7


async def test_a_restart_is_one_lost_connection_and_then_it_goes_on(peer: Peer) -> None:
    collector, status = Collector(), Status()
    await peer.start()
    async with running(peer.connection, collector, status) as session:
        await connected(collector, status)
        await peer.produce(1)
        await collector.until(lambda: 1.0 in collector.values(100))
        await peer.stop()
        await session.lost()
    async with running(peer.connection, collector, status) as session:
        await session.lost()
    await peer.start()
    try:
        async with running(peer.connection, collector, status):
            await connected(collector, status)
            await peer.produce(2)
            await collector.until(lambda: 2.0 in collector.values(100))
    finally:
        await peer.stop()


async def test_cancelled_at_any_moment_it_leaves_nothing(peer: Peer) -> None:
    await peer.start()
    try:
        for pause in (0.0, 0.001, 0.01, 0.05, 0.2):
            collector = Collector()
            async with running(peer.connection, collector):
                await asyncio.sleep(pause)
        collector = Collector()
        collector.open.clear()
        async with running(peer.connection, collector):
            await peer.produce(5)
            await collector.until(lambda: collector.waiting > 0)
    finally:
        await peer.stop()


async def test_an_error_of_the_pipeline_is_not_a_lost_connection(peer: Peer) -> None:
    await peer.start()
    status = Status(heard_us=1)

    class DiskFullError(Exception):
        pass

    class Broken(Collector):
        async def emit(self, delivery: object) -> None:  # noqa: ARG002 - nothing of it is used
            raise DiskFullError

    broken = Broken()
    session = Session(peer.connection, status, broken, WallClock())
    try:
        async with asyncio.timeout(90):
            await broken.until(lambda: status.state == "connected" or session.task.done())
            if not session.task.done():
                await peer.produce(5)
            with pytest.raises(DiskFullError):
                await session.task
    finally:
        session.task.cancel()
        await peer.stop()


@pytest.mark.parametrize("protocol", sorted(ADAPTERS))
def test_a_wrong_configuration_is_said_before_anything_is_connected(protocol: Any) -> None:  # noqa: ANN401 - a literal
    connection = make_connection(protocol, {"nonsense": 1}, [make_tag(1, "?")])
    with pytest.raises(ConfigurationError):
        adapter_class(protocol)(connection, WallClock(), Status())


@pytest.mark.parametrize("protocol", sorted(ADAPTERS))
def test_what_can_be_lost_is_said_in_the_status(protocol: str) -> None:
    assert len(adapter_class(protocol).loss_window) > 50
