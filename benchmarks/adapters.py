"""Readings a second that each adapter takes in from a real server in another process.

The figure is that of one connection on one core of the adapter's process, up to `emit`; the server has another core.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import resource
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

import paho.mqtt.client as paho
from asyncua import ua
from asyncua.server.server import Server
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

from benchmarks.report import Machine, Report, parser
from streaming.adapters import adapter_class
from streaming.delivery import Delivery, Status
from wellos.clock import WallClock
from wellos.embedded.broker import running_broker
from wellos.protocols.sparkplug_pb import DataType, Payload
from wellos.registry import Connection, Protocol, Tag

if TYPE_CHECKING:
    from collections.abc import Callable

TENANT = UUID(int=1)
URI = "urn:wellos:benchmark"


def _tags(addresses: list[str], interval_s: float) -> tuple[Tag, ...]:
    return tuple(
        Tag(number, TENANT, "W", f"t{number}", address, interval_s=interval_s)
        for number, address in enumerate(addresses, start=1)
    )


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def _opcua(port: int, nodes: int, period_s: float) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    variables = [
        await server.nodes.objects.add_variable(ua.NodeId(ua.Int32(number), ua.Int16(index)), f"n{number}", 0.0)
        for number in range(1, nodes + 1)
    ]
    async with server:
        step = 0.0
        while True:
            step += 1.0
            for variable in variables:
                await server.write_attribute_value(
                    variable.nodeid, ua.DataValue(ua.Variant(step, ua.VariantType.Double))
                )
            await asyncio.sleep(period_s)


def _serve_opcua(port: int, nodes: int, period_s: float) -> None:
    asyncio.run(_opcua(port, nodes, period_s))


class _Registers:
    def device_ids(self) -> list[int]:
        return [1]

    async def async_getValues(self, _device: int, _function: int, _address: int, count: int = 1) -> list[int]:  # noqa: N802
        return [17] * count


def _serve_modbus(port: int) -> None:
    async def serve() -> None:
        server = ModbusTcpServer(SimDevice(0, simdata=[SimData(0)]), address=("127.0.0.1", port))
        server.context = _Registers()  # type: ignore[assignment]
        await server.serve_forever()

    asyncio.run(serve())


def _publish(port: int, bodies: list[tuple[str, bytes]]) -> None:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    while True:
        for topic, body in bodies:
            sent = client.publish(topic, body, 1)
        sent.wait_for_publish(60)


async def _measure(connection: Connection, seconds: float) -> tuple[float, float]:
    """Return readings a second, and the share of one core this process used."""
    count = 0
    begun = asyncio.Event()

    async def emit(delivery: Delivery) -> None:
        nonlocal count
        count += len(delivery.readings)
        begun.set()
        if delivery.settle is not None:
            delivery.settle()

    task = asyncio.create_task(adapter_class(connection.protocol)(connection, WallClock(), Status()).run(emit))
    await asyncio.wait({task, asyncio.ensure_future(begun.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(1)
    first, began, cpu = count, time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.sleep(seconds)
    elapsed, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF)
    rate = (count - first) / elapsed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return rate, (after.ru_utime + after.ru_stime - cpu.ru_utime - cpu.ru_stime) / elapsed


def _wait_for(port: int) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.1)


def _run(
    name: str, serve: Callable[..., None], arguments: tuple[object, ...], connection: Connection, seconds: float
) -> dict[str, float]:
    process = multiprocessing.get_context("spawn").Process(target=serve, args=arguments, daemon=True)
    process.start()
    try:
        _wait_for(cast("int", arguments[0]))
        rate, cores = asyncio.run(_measure(connection, seconds))
        return {f"{name}: readings/s": rate, f"{name}: readings/s a core": rate / max(cores, 1e-9)}
    finally:
        process.terminate()
        process.join()


def _connection(protocol: Protocol, config: dict[str, Any], tags: tuple[Tag, ...]) -> Connection:
    return Connection(1, TENANT, "bench", protocol, protocol, config, tags)


def _sparkplug(tags: int) -> list[tuple[str, bytes]]:
    birth, data = Payload(seq=0, timestamp=1), Payload(timestamp=1)
    for alias in range(1, tags + 1):
        birth.metrics.add(name=f"m{alias}", alias=alias, datatype=DataType.DOUBLE, double_value=1.0, timestamp=alias)
        data.metrics.add(alias=alias, double_value=1.5, timestamp=alias)
    return [
        ("spBv1.0/G/NBIRTH/N", birth.SerializeToString()),
        *[("spBv1.0/G/NDATA/N", data.SerializeToString())] * 200,
    ]


def main(argv: list[str]) -> int:
    """Run all and report; the server is the limit where this process has cores to spare."""
    options = parser("adapters", __doc__)
    options.add_argument("--seconds", type=float, default=5, help="of each case")
    chosen, machine = options.parse_args(argv), Machine.read()
    seconds, found = chosen.seconds, dict[str, float]()
    port = _free_port()
    open_to_all = {"anonymous": True, "security_mode": "None"}
    opcua = open_to_all | {"url": f"opc.tcp://127.0.0.1:{port}/", "publishing_interval_ms": 100.0}
    nodes = _tags([f"nsu={URI};i={number}" for number in range(1, 1001)], 1)
    found |= _run("opcua, 1000 nodes", _serve_opcua, (port, 1000, 0.02), _connection("opcua", opcua, nodes), seconds)
    port = _free_port()
    registers = _tags([f"1:holding:{2 * number}:float32:CDAB" for number in range(5000)], 0.01)
    modbus = {"host": "127.0.0.1", "port": port}
    found |= _run("modbus, 5000 float32", _serve_modbus, (port,), _connection("modbus", modbus, registers), seconds)
    for size in (1, 25):
        values = {f"v{number}": 1.5 for number in range(size)}
        body = json.dumps({"time": "2026-11-01T00:00:00Z", "values": values}).encode()
        with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder) / "mqtt") as broker:
            plain = _connection(
                "mqtt", {"url": broker.url}, _tags([f"w#/values/v{number}" for number in range(size)], 1)
            )
            found |= _run(
                f"mqtt plain, {size} tags a message", _publish, (broker.port, [("w", body)] * 200), plain, seconds
            )
    with tempfile.TemporaryDirectory() as folder, running_broker(Path(folder) / "mqtt") as broker:
        config = {"url": broker.url, "payload": "sparkplug"}
        sparkplug = _connection("mqtt", config, _tags([f"G/N:m{number}" for number in range(1, 26)], 1))
        found |= _run("mqtt sparkplug, 25 metrics", _publish, (broker.port, _sparkplug(25)), sparkplug, seconds)
    Report("adapters", found).show(machine, as_json=chosen.json)
    return 0
