"""A replay from start to end: recordings found and shared out, servers up, every row played, the end announced."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from wellos.simulator.endpoints import addresses_of, described, write_fleet
from wellos.simulator.modbus_server import ModbusServer
from wellos.simulator.mqtt_client import DROPPED, STORED, MqttPublisher
from wellos.simulator.opcua_server import OpcUaServer, ServedWell
from wellos.simulator.player import Pace, Sender, play
from wellos.simulator.recordings import find_recordings
from wellos.simulator.replay import NODE, TENANT, Reader, ReplayWell, mirror, plan, replay_document
from wellos.simulator.senders import Births, MqttSender, OpcUaSender, SparkplugSender
from wellos.simulator.sparkplug import EdgeNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.simulator.addresses import Register
    from wellos.simulator.endpoints import Options
    from wellos.simulator.ready import ReadyFile

__all__ = ["replay"]

_log = structlog.get_logger(__name__)
_FIGURES_EVERY_S = 2.0


class _Mirror:
    """Passes readings on to a well's sender, and shows the newest of them on the Modbus server."""

    def __init__(self, sender: Sender, server: ModbusServer, registers: Sequence[Register]) -> None:
        self._sender, self._server, self._registers = sender, server, registers

    async def permit(self, row: int) -> int:
        return await self._sender.permit(row)

    async def send(self, readings: Readings, row: int) -> None:
        last = readings[-len(self._registers) :]
        for tag, value in zip(last["tag_id"].tolist(), last["value"].tolist(), strict=True):
            self._server.write(self._registers[tag], value)
        await self._sender.send(readings, row)

    async def finished(self) -> int | None:
        return await self._sender.finished()


class _Stage:
    """The servers of a replay, and what was sent through each."""

    def __init__(self, wells: Sequence[ReplayWell], options: Options, settings: Settings, clock: Clock) -> None:
        self.wells, self.options, self.settings, self.clock = wells, options, settings, clock
        self.readers = {well.name: Reader(well, options.zone) for well in wells}
        self.senders: dict[str, Sender] = {}
        self.mirrored = min(wells, key=lambda well: (-well.rows, well.name))
        self.publishers: list[MqttPublisher] = []
        self.opcua: OpcUaServer
        self.modbus: ModbusServer

    def over(self, transport: str) -> list[ReplayWell]:
        return [well for well in self.wells if well.transport == transport]

    async def start(self, broker: SecretStr, stack: AsyncExitStack) -> None:
        await self._start_opcua(stack)
        await self._start_plain(broker, stack)
        await self._start_sparkplug(broker, stack)
        _, registers = mirror(self.mirrored)
        self.modbus = ModbusServer(registers)
        stack.push_async_callback(self.modbus.close)
        await self.modbus.start(self.settings.host, self.settings.modbus_port)
        for reading in self.readers[self.mirrored.name].initial().tolist():
            self.modbus.write(registers[reading[2]], reading[1])
        name = self.mirrored.name
        self.senders[name] = _Mirror(self.senders[name], self.modbus, registers)

    async def _start_opcua(self, stack: AsyncExitStack) -> None:
        wells = self.over("opcua")
        self.opcua = OpcUaServer([ServedWell(well.name, well.tags) for well in wells])
        stack.push_async_callback(self.opcua.close)
        first = [self.readers[well.name].initial() for well in wells]
        await self.opcua.start(self.settings.host, self.settings.opcua_port, first)
        for at, well in enumerate(wells):
            self.senders[well.name] = OpcUaSender(self.opcua, at, well.rows, self.clock)

    async def _start_plain(self, broker: SecretStr, stack: AsyncExitStack) -> None:
        # Also without wells of its own: this client hears the broker's figures.
        publisher = MqttPublisher(broker.get_secret_value(), "wellos-replay-plain")
        stack.push_async_callback(publisher.close)
        await publisher.open(STORED, DROPPED)
        self.publishers.append(publisher)
        for well in self.over("mqtt"):
            self.senders[well.name] = MqttSender(publisher, f"wellos/{TENANT}/{well.name}", well.tags)

    async def _start_sparkplug(self, broker: SecretStr, stack: AsyncExitStack) -> None:
        wells = self.over("sparkplug")
        # Named metrics: what waits in the broker for an ingest that starts anew must not need births it never saw.
        node = EdgeNode(TENANT, NODE, {well.name: well.tags for well in wells}, aliases=False)
        for well in wells:
            node.remember(well.name, self.readers[well.name].initial())
        publisher = MqttPublisher(broker.get_secret_value(), "wellos-replay-edge")
        births = Births(publisher, node, self.clock)
        # Quietly: the end of a recording is no death, and stale readings are not in the files.
        stack.push_async_callback(publisher.close)
        await publisher.open(node.command_topic, STORED)
        self.publishers.append(publisher)
        for well in wells:
            self.senders[well.name] = SparkplugSender(publisher, node, births, well.name, self.clock)

    def counts(self) -> dict[str, Any]:
        dropped = [publisher.figures[DROPPED] for publisher in self.publishers if DROPPED in publisher.figures]
        return {
            "opcua_samples": self.opcua.written,
            "mqtt_messages": sum(publisher.published for publisher in self.publishers),
            "modbus_reads": self.modbus.reads,
            "broker_dropped": max(dropped, default=None),
            "wells": {
                name: {"rows_played": reader.played, "rows": reader.well.rows, "over": reader.well.transport}
                for name, reader in self.readers.items()
            },
        }


async def replay(options: Options, settings: Settings, broker: SecretStr, clock: Clock, ready: ReadyFile) -> None:
    """Serve and play the recordings of a folder; then keep serving what was shown last."""
    if options.replay is None:
        raise ValueError("a replay needs a folder")
    recordings = await asyncio.to_thread(find_recordings, options.replay, options.instances)
    stage = _Stage(plan(recordings, options.limit_rows), options, settings, clock)
    async with AsyncExitStack() as stack:
        await stage.start(broker, stack)
        addresses = addresses_of(settings, stage.opcua, stage.modbus, broker)
        version = stage.publishers[0].version
        if version != 5:
            _log.warning("the broker speaks MQTT 3.1.1: what nobody subscribed to in time is lost", version=version)
        if options.fleet_out is not None:
            document = replay_document(stage.wells, stage.mirrored, options.zone, addresses, version)
            write_fleet(options.fleet_out, document)
        ready.update(state="playing", **described(addresses, options.fleet_out), counts=stage.counts())
        rows = sum(well.rows for well in stage.wells)
        _log.info("playing", wells=len(stage.wells), recordings=len(recordings), rows=rows)
        await _play_all(stage, ready)
        _log.info("replay finished", **{key: value for key, value in stage.counts().items() if key != "wells"})
        ready.update(state="finished", counts=stage.counts())
        await asyncio.Event().wait()


async def _play_all(stage: _Stage, ready: ReadyFile) -> None:
    speed = 1.0 if stage.options.speed is None else stage.options.speed
    figures = asyncio.create_task(_figures(stage, ready))
    try:
        async with asyncio.TaskGroup() as group:
            for well in stage.wells:
                reader = stage.readers[well.name]
                group.create_task(play(reader, stage.senders[well.name], Pace(speed, stage.clock)))
    finally:
        figures.cancel()


async def _figures(stage: _Stage, ready: ReadyFile) -> None:
    while True:
        await asyncio.sleep(_FIGURES_EVERY_S)
        ready.update(counts=stage.counts())
