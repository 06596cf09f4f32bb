"""The storm's devices, each kind in a process of its own: `python -m tests.storm.sources KIND JSON`.

Prints `ready {addresses}`; MQTT stops sending on SIGTERM and prints `end {ticks}` once the broker has taken all.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.storm.truth import BLOCK, TAGS, Plan, Source, values_at
from wellos.clock import WallClock
from wellos.protocols.modbus import ModbusAddress
from wellos.quality import Quality
from wellos.readings import pack
from wellos.simulator.addresses import Register
from wellos.simulator.modbus_server import ModbusServer
from wellos.simulator.opcua_server import OpcUaServer, ServedWell

if TYPE_CHECKING:
    from wellos.readings import Readings

_MOST_WAITING = 2000
_TROUBLE = 0.002
_HELD = 200


class _Publisher:
    """All MQTT sources: QoS 1, a session that outlives a broken link, now and then late, double or broken messages."""

    def __init__(self, plan: Plan, url: str, seed: int) -> None:
        self._plan, self._random = plan, random.Random(seed)
        self._sources = tuple(plan.of_kind("mqtt"))
        self._clock = WallClock()
        self.ticks = dict.fromkeys((source.name for source in self._sources), 0)
        self.troubles = {"late": 0, "twice": 0, "malformed": 0, "future": 0}
        self._held: deque[tuple[str, str]] = deque()
        self._waiting = 0
        parts = urlsplit(url)
        client = paho.Client(CallbackAPIVersion.VERSION2, "storm-source", protocol=MQTTProtocolVersion.MQTTv311,
                             clean_session=False)  # fmt: skip
        client.max_inflight_messages_set(500)
        client.max_queued_messages_set(0)
        client.reconnect_delay_set(1, 2)
        client.on_publish = self._published
        client.connect(parts.hostname or "", parts.port or 1883)
        client.loop_start()
        self._client = client

    def run(self, stop: list[bool]) -> None:
        """Send every tick when it is due until told to stop; then wait until the broker has taken all."""
        while not stop:
            now = self._clock.micros()
            for source in self._sources:
                due = (now - self._plan.start_us) // source.period_us
                while self.ticks[source.name] < due and self._waiting < _MOST_WAITING:
                    self._send(source, self.ticks[source.name])
                    self.ticks[source.name] += 1
            time.sleep(0.005)
        while self._held:
            self._publish(*self._held.popleft())
        while self._waiting:
            time.sleep(0.05)
        self._client.disconnect()
        self._client.loop_stop()

    def _send(self, source: Source, tick: int) -> None:
        block = tick % 2
        tags = range(block * BLOCK, (block + 1) * BLOCK)
        moment = self._plan.start_us + tick * source.period_us
        values = values_at(np.full(BLOCK, tick), np.arange(tags.start, tags.stop)).tolist()
        content = {"time": moment} | {f"t{tag}": value for tag, value in zip(tags, values, strict=True)}
        message = (f"storm/{source.name}/{block}", json.dumps(content))
        dice = self._random.random()
        if dice < _TROUBLE:
            self._trouble(message, moment)
        elif dice < 2 * _TROUBLE:
            self.troubles["late"] += 1
            self._held.append(message)
        else:
            self._publish(*message)
        if len(self._held) > _HELD:
            self._publish(*self._held.popleft())

    def _trouble(self, message: tuple[str, str], moment: int) -> None:
        kind = self._random.choice(("twice", "malformed", "future"))
        self.troubles[kind] += 1
        self._publish(*message)
        topic, content = message
        if kind == "malformed":
            content = content[: len(content) // 2]
        elif kind == "future":
            content = content.replace(str(moment), str(moment + 86_400_000_000))
        self._publish(topic, content)

    def _publish(self, topic: str, content: str) -> None:
        self._waiting += 1
        self._client.publish(topic, content, qos=1)

    def _published(self, *_of_the_library: object) -> None:
        self._waiting -= 1


def _mqtt(plan: Plan, options: dict[str, Any]) -> None:
    stop: list[bool] = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    publisher = _Publisher(plan, options["broker"], options["seed"])
    click.echo("ready {}")
    publisher.run(stop)
    click.echo("end " + json.dumps({"ticks": publisher.ticks, "troubles": publisher.troubles}))


def _tick_of(plan: Plan) -> int:
    return (WallClock().micros() - plan.start_us) // 1_000_000


async def _modbus(plan: Plan, options: dict[str, Any]) -> None:
    registers = [Register(ModbusAddress(1, "holding", 2 * tag, "uint32")) for tag in range(TAGS)]
    servers, ports = [], {}
    for source in plan.of_kind("modbus"):
        server = ModbusServer(registers)
        ports[source.name] = await server.start("127.0.0.1", options.get("ports", {}).get(source.name, 0))
        servers.append(server)
    click.echo("ready " + json.dumps(ports))
    while True:
        values = values_at(np.full(TAGS, _tick_of(plan)), np.arange(TAGS)).tolist()
        for server in servers:
            for register, value in zip(registers, values, strict=True):
                server.write(register, value)
        await asyncio.sleep(1 - (WallClock().micros() % 1_000_000) / 1e6)


def _row(plan: Plan, tick: int) -> Readings:
    values = values_at(np.full(TAGS, tick), np.arange(TAGS))
    return pack(plan.start_us + tick * 1_000_000, values, np.arange(TAGS), Quality.GOOD)


async def _opcua(plan: Plan, options: dict[str, Any]) -> None:
    names = tuple(f"t{tag}" for tag in range(TAGS))
    sources = list(plan.of_kind("opcua"))
    server = OpcUaServer([ServedWell(source.name, names) for source in sources])
    tick = _tick_of(plan)
    url = await server.start("127.0.0.1", options.get("port", 0), [_row(plan, tick)] * len(sources))
    click.echo("ready " + json.dumps({source.name: url for source in sources}))
    while True:
        while tick < _tick_of(plan):
            tick += 1
            for position in range(len(sources)):
                await server.write(position, _row(plan, tick))
        await asyncio.sleep(1 - (WallClock().micros() % 1_000_000) / 1e6)


def main() -> None:
    """Run one kind."""
    kind, options = sys.argv[1], json.loads(sys.argv[2])
    plan = Plan(tuple(Source(*item) for item in options["sources"]), options["start_us"])
    if kind == "mqtt":
        _mqtt(plan, options)
    else:
        asyncio.run((_modbus if kind == "modbus" else _opcua)(plan, options))


if __name__ == "__main__":
    main()
