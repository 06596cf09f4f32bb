"""What one Python server of the simulator delivers, and at what CPU.

Each server runs in this process and its reader in another, so that the CPU time of this process is the server's alone.
Losses are what the reader counted less than was sent; they must be 0.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import paho.mqtt.client as paho
from asyncua import ua
from asyncua.client.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from pymodbus.client import AsyncModbusTcpClient

from benchmarks.report import Machine, Report, parser
from wellos.embedded.broker import running_broker
from wellos.protocols.modbus import ModbusAddress
from wellos.protocols.sparkplug_pb import Payload
from wellos.readings import pack
from wellos.simulator.addresses import Register
from wellos.simulator.modbus_server import ModbusServer
from wellos.simulator.mqtt_client import MqttPublisher
from wellos.simulator.opcua_server import OpcUaServer, ServedWell
from wellos.simulator.senders import plain_messages
from wellos.simulator.sparkplug import EdgeNode
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from wellos.readings import Readings

_TAGS = tuple(f"t{number}" for number in range(8))
_WELLS = 10
_START_US = 1_500_000_000_000_000
_PATIENCE_S = 60


def _rows(first: int, count: int) -> Readings:
    times = np.repeat(_START_US + 1_000_000 * np.arange(first, first + count), len(_TAGS))
    return pack(times, np.random.default_rng(first).normal(size=len(times)), np.tile(np.arange(8), count), 2)


class _Meter:
    """Wall and CPU time of a stretch of work."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def figures(self, name: str, sent: int, received: int) -> dict[str, float]:
        """Return what was measured of one server."""
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        return {
            f"{name}: lost": sent - received,
            f"{name}: readings/s": sent / wall,
            f"{name}: readings a CPU second": sent / cpu,
        }


class _OpcUaReader:
    def __init__(self) -> None:
        self.seen = 0

    def datachange_notification(self, _node: Any, _value: Any, _data: Any) -> None:  # noqa: ANN401 - the library's
        self.seen += 1


def _read_opcua(url: str, expected: int, pipe: Connection) -> None:
    async def run() -> None:
        reader = _OpcUaReader()
        async with Client(url, timeout=30) as client:
            index = await client.get_namespace_index("urn:wellos:field")
            names: list[Any] = [f"W{well}.{tag}" for well in range(_WELLS) for tag in _TAGS]
            nodes = [client.get_node(ua.NodeId(name, ua.Int16(index))) for name in names]
            subscription = await client.create_subscription(100, reader)
            await subscription.subscribe_data_change(nodes, queuesize=10_000)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_S):
                    await until(lambda: reader.seen >= expected, 0.05)
        pipe.send(reader.seen)

    asyncio.run(run())


def _read_mqtt(url: str, expected: int, pipe: Connection) -> None:
    """Count values in messages: members of plain ones, metrics of Sparkplug data."""
    seen = 0

    def count(_client: object, _data: object, message: paho.MQTTMessage) -> None:
        nonlocal seen
        plain = message.topic.startswith("bench/")
        seen += message.payload.count(b'"t') - 1 if plain else len(Payload.FromString(bytes(message.payload)).metrics)

    client = paho.Client(CallbackAPIVersion.VERSION2, "bench-reader", protocol=MQTTProtocolVersion.MQTTv5)
    client.on_message = count
    parts = urlsplit(url)
    client.connect(parts.hostname or "", parts.port or 1883)
    client.subscribe([("bench/#", 1), ("spBv1.0/bench/DDATA/#", 1)])
    client.loop_start()
    time.sleep(1)
    pipe.send("subscribed")
    deadline = time.monotonic() + _PATIENCE_S
    while seen < expected and time.monotonic() < deadline:
        time.sleep(0.05)
    pipe.send(seen)
    client.loop_stop()


def _read_modbus(port: int, requests: int, pipe: Connection) -> None:
    async def run() -> None:
        client = AsyncModbusTcpClient("127.0.0.1", port=port)
        await client.connect()
        pipe.send("connected")
        registers = 0
        for request in range(requests):
            answer = await client.read_holding_registers(0, count=100, device_id=1 + request % _WELLS)
            registers += len(answer.registers) // 2
        pipe.send(registers)
        client.close()

    asyncio.run(run())


async def _opcua(rows: int) -> dict[str, float]:
    server = OpcUaServer([ServedWell(f"W{well}", _TAGS) for well in range(_WELLS)])
    await server.start("127.0.0.1", 0, [_rows(0, 1)] * _WELLS)
    expected = (rows + 1) * _WELLS * len(_TAGS)
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_read_opcua, args=(server.url, expected, theirs))
    process.start()
    await until(lambda: all(server.subscribers(well) for well in range(_WELLS)), 0.05)
    meter = _Meter()
    for first in range(1, rows + 1, 50):
        for well in range(_WELLS):
            await until(lambda: server.backlog() <= 5000, 0.005)
            await server.write(well, _rows(first, min(50, rows + 1 - first)))
    await until(ours.poll, 0.05)
    figures = meter.figures("OPC UA, one subscriber", expected, ours.recv())
    process.join()
    await server.close()
    return figures


async def _mqtt(url: str, rows: int, *, sparkplug: bool) -> dict[str, float]:
    publisher = MqttPublisher(url, "bench-field")
    await publisher.open()
    node = EdgeNode("bench", "n", {f"W{well}": _TAGS for well in range(_WELLS)})
    expected = rows * _WELLS * len(_TAGS)
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_read_mqtt, args=(url, expected, theirs))
    process.start()
    await until(ours.poll, 0.05)
    ours.recv()
    meter = _Meter()
    for first in range(0, rows, 100):
        for well in range(_WELLS):
            readings = _rows(first, min(100, rows - first))
            if sparkplug:
                await publisher.publish(*node.data(f"W{well}", readings, _START_US))
            else:
                await publisher.publish_all(list(plain_messages(f"bench/W{well}", _TAGS, readings)))
    await until(ours.poll, 0.05)
    figures = meter.figures(
        "Sparkplug B, 100 rows each" if sparkplug else "plain JSON, one row each", expected, ours.recv()
    )
    process.join()
    await publisher.close()
    return figures


async def _modbus(requests: int) -> dict[str, float]:
    registers = [
        Register(ModbusAddress(unit, "holding", 2 * at, "float32")) for unit in range(1, _WELLS + 1) for at in range(50)
    ]
    server = ModbusServer(registers)
    port = await server.start("127.0.0.1", 0)
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_read_modbus, args=(port, requests, theirs))
    process.start()
    await until(ours.poll, 0.05)
    ours.recv()
    meter = _Meter()
    await until(ours.poll, 0.05)
    figures = meter.figures("Modbus, 50 values a request", requests * 50, ours.recv())
    process.join()
    await server.close()
    return figures


async def _run(url: str, share: float) -> dict[str, float]:
    return {
        **await _opcua(max(1, round(3000 * share))),
        **await _mqtt(url, max(1, round(3000 * share)), sparkplug=False),
        **await _mqtt(url, max(1, round(20_000 * share)), sparkplug=True),
        **await _modbus(max(1, round(5000 * share))),
    }


def main(argv: list[str]) -> int:
    """Report readings a second, and a CPU second of the server; its reader is the limit where the two differ."""
    options = parser("field_servers", __doc__)
    options.add_argument("--mqtt-url", help="broker to use, mqtt://HOST:PORT (default: an embedded one)")
    options.add_argument("--share", type=float, default=1.0, help="of the readings to send")
    chosen, machine = options.parse_args(argv), Machine.read()
    if chosen.mqtt_url is not None:
        figures = asyncio.run(_run(chosen.mqtt_url, chosen.share))
    else:
        with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder) / "mqtt") as broker:
            figures = asyncio.run(_run(broker.url, chosen.share))
    Report("field_servers", figures).show(machine, as_json=chosen.json)
    return 0
