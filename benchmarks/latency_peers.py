"""Simulated devices for `latency`, each a process of its own: every value they write is the moment of its writing.

The moment is in microseconds since 1970-01-01 UTC, which a double holds exactly, so that whoever sees a value knows its
age. A Modbus device has no moments of its own: it writes when it is asked, so that its age counts from the answer.
"""

from __future__ import annotations

import asyncio
import struct
import time
from datetime import UTC

import paho.mqtt.client as paho
from asyncua import ua
from asyncua.server.server import Server
from paho.mqtt.enums import CallbackAPIVersion
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

__all__ = ["A_MESSAGE", "HERTZ", "URI", "serve_modbus", "serve_mqtt", "serve_opcua"]

URI = "urn:wellos:latency"
HERTZ = 10
"""How often every tag is written."""
A_MESSAGE = 50
"""Tags in one MQTT message."""
_SLOTS = 50
"""The writes of one round are spread over so many moments."""


def _micros() -> int:
    return time.time_ns() // 1000


def serve_mqtt(port: int, tags: int) -> None:
    """Publish one message for every 50 tags, ten times a second."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(10_000)
    client.max_queued_messages_set(100_000)
    client.connect("127.0.0.1", port)
    client.loop_start()
    values = ",".join(f'"v{number}":T' for number in range(A_MESSAGE))
    body = f'{{"time":T,"values":{{{values}}}}}'
    topics = max(1, tags // A_MESSAGE)
    due, step = time.perf_counter(), 1 / HERTZ / topics
    while True:
        for topic in range(topics):
            due += step
            time.sleep(max(0.0, due - time.perf_counter()))
            client.publish(f"w{topic}", body.replace("T", str(_micros())), 1)


def serve_opcua(port: int, tags: int) -> None:
    """Write every node ten times a second, or as often as this server can."""
    asyncio.run(_opcua(port, tags))


async def _opcua(port: int, tags: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    variables = [
        await server.nodes.objects.add_variable(ua.NodeId(ua.Int32(number), ua.Int16(index)), f"n{number}", 0.0)
        for number in range(1, tags + 1)
    ]
    due, slots = time.perf_counter(), min(_SLOTS, tags)
    async with server:
        while True:
            for slot in range(slots):
                due = max(due + 1 / HERTZ / slots, time.perf_counter() - 1)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                for variable in variables[slot::slots]:
                    now = _micros()
                    moment = ua.DateTime.fromtimestamp(now / 1e6, UTC).replace(tzinfo=None)
                    value = ua.DataValue(ua.Variant(float(now), ua.VariantType.Double), SourceTimestamp=moment)
                    await server.write_attribute_value(variable.nodeid, value)


class _Registers:
    def device_ids(self) -> list[int]:
        return [1]

    async def async_getValues(self, _device: int, _function: int, _address: int, count: int = 1) -> list[int]:  # noqa: N802
        return list(struct.unpack(">4H", struct.pack(">d", _micros()))) * (count // 4)


def serve_modbus(port: int, _tags: int) -> None:
    """Answer every read of registers with the present moment, as float64."""

    async def serve() -> None:
        server = ModbusTcpServer(SimDevice(0, simdata=[SimData(0)]), address=("127.0.0.1", port))
        server.context = _Registers()  # type: ignore[assignment]
        await server.serve_forever()

    asyncio.run(serve())
