"""The live field behind its servers: what independent clients read is what the field's devices sent."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
import yaml
from pymodbus.client import AsyncModbusTcpClient

from tests.fix_field import FieldReader, until
from wellos.clock import ScaledClock, WallClock
from wellos.errors import UnreachableError
from wellos.fleet.check import check
from wellos.protocols.sparkplug_pb import NODE_REBIRTH, DataType, Payload
from wellos.readings import pack
from wellos.settings import Settings
from wellos.simulator.addresses import register_map
from wellos.simulator.endpoints import Options, broker_of
from wellos.simulator.field import Field
from wellos.simulator.modbus_server import encode
from wellos.simulator.opcua_server import OpcUaServer, ServedWell
from wellos.simulator.ready import ReadyFile
from wellos.simulator.serving import serve_live
from wellos.simulator.sparkplug import EdgeNode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wellos.clock import Clock
    from wellos.embedded.server import RunningServer

SEED = 5
BAD_SENSOR = 0x808C0000


def fast_clock() -> Clock:
    now = WallClock().micros()
    return ScaledClock(now - 3_600_000_000, now, 60.0)


@asynccontextmanager
async def live(mqtt_url: str, tmp_path: Path, clock: Clock, **more: Path) -> AsyncIterator[ReadyFile]:
    settings = Settings(mqtt_url=mqtt_url, data_dir=tmp_path)
    ready = ReadyFile(tmp_path / "ready.json")
    options = Options(seed=SEED, **more)  # type: ignore[arg-type]
    task = asyncio.create_task(serve_live(options, settings, broker_of(settings), clock, ready))
    try:
        await until(lambda: task.done() or "state" in ready.content)
        if task.done():
            task.result()
        yield ready
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


Sent = tuple[str, str, str, tuple[int, float | None]]


def sent(began_us: int, ended_us: int) -> set[Sent]:
    """Return protocol, well, tag and reading of all that was sent by OPC UA and as plain MQTT."""
    found: set[Sent] = set()
    field = Field(seed=SEED)
    for number, well in enumerate(field.wells):
        if well.protocol in ("opcua", "mqtt"):
            for time, value, tag in field.samples(number, began_us, ended_us)[["time", "value", "tag_id"]].tolist():
                reading = (time, None if math.isnan(value) else value)
                found.add((well.protocol, well.name, well.tags[tag].name, reading))
    return found


def missing(reader: FieldReader, began_us: int, ended_us: int) -> set[Sent]:
    """Return what was sent and never heard."""
    heard = {"opcua": reader.seen, "mqtt": reader.plain()}
    got = {
        (protocol, well, tag, reading)
        for protocol, seen in heard.items()
        for (well, tag), readings in seen.items()
        for reading in readings
    }
    return sent(began_us, ended_us) - got


async def test_what_the_devices_send_reaches_every_kind_of_client(
    own_mqtt_broker: RunningServer, tmp_path: Path, field_reader: FieldReader
) -> None:
    url, clock = own_mqtt_broker.url, fast_clock()
    listener = field_reader.mqtt(url, "wellos/permian/+", "spBv1.0/permian/#")
    fleet, truth = tmp_path / "fleet.yaml", tmp_path / "truth.jsonl"
    async with live(url, tmp_path, clock, fleet_out=fleet, truth=truth) as ready:
        client = await field_reader.opcua(ready.content["opcua"])
        began = clock.micros()
        await asyncio.sleep(4)
        ended = clock.micros()
        await until(lambda: not missing(field_reader, began, ended))
        await client.disconnect()
    await until(lambda: any("/NDEATH/" in topic for topic, _ in field_reader.messages))
    listener.loop_stop()
    listener.disconnect()
    compared = Counter(protocol for protocol, *_ in sent(began, ended))
    assert min(compared["opcua"], compared["mqtt"]) > 100
    for heard in (field_reader.seen, field_reader.plain()):
        assert max(time for got in heard.values() for time, _ in got) <= clock.micros()
    assert check(fleet.read_bytes(), "fleet.yaml").warnings == ()
    assert truth.read_text().count("\n") > 0


async def test_modbus_registers_hold_the_newest_values(mqtt_url: str, tmp_path: Path) -> None:
    clock = WallClock()
    async with live(mqtt_url, tmp_path, clock) as ready:
        field = Field(seed=SEED)
        host, _, port = ready.content["modbus"].partition(":")
        client = AsyncModbusTcpClient(host, port=int(port))
        await client.connect()
        for number, registers in register_map(field).items():
            for at, register in enumerate(registers):
                address = register.address
                read = client.read_input_registers if address.table == "input" else client.read_holding_registers
                answer = await read(address.register, count=address.registers, device_id=address.unit)
                now = clock.micros()
                recent = field.samples(number, now - 30_000_000, now)
                values = recent[recent["tag_id"] == at]["value"][-8:].tolist()
                if values and not answer.isError():
                    assert answer.registers in [encode(register, value) for value in values]
        client.close()


async def test_sparkplug_births_come_before_data_and_again_on_command(
    own_mqtt_broker: RunningServer, tmp_path: Path, field_reader: FieldReader
) -> None:
    listener = field_reader.mqtt(own_mqtt_broker.url, "spBv1.0/permian/#")
    async with live(own_mqtt_broker.url, tmp_path, fast_clock()):
        await until(lambda: any("/DDATA/" in topic for topic, _ in field_reader.messages))
        before = sum("/NBIRTH/" in topic for topic, _ in field_reader.messages)
        command = Payload()
        command.metrics.add(name=NODE_REBIRTH, datatype=DataType.BOOLEAN, boolean_value=True)
        listener.publish("spBv1.0/permian/NCMD/edge-1", command.SerializeToString(), qos=1)
        await until(lambda: sum("/NBIRTH/" in topic for topic, _ in field_reader.messages) > before)
        await asyncio.sleep(2)
    await until(lambda: any("/NDEATH/" in topic for topic, _ in field_reader.messages))
    listener.loop_stop()
    listener.disconnect()
    kinds = [(topic.split("/")[2], Payload.FromString(payload)) for topic, payload in field_reader.messages]
    own = [(kind, message) for kind, message in kinds if kind not in ("NCMD", "NDEATH")]
    assert own[0][0] == "NBIRTH"
    assert own[0][1].seq == 0
    for (_, last), (kind, message) in pairwise(own):
        assert message.seq == (0 if kind == "NBIRTH" else (last.seq + 1) % 256)
    aliases = {metric.alias for kind, message in own if kind == "DBIRTH" for metric in message.metrics}
    used = {metric.alias for kind, message in own if kind == "DDATA" for metric in message.metrics}
    assert used <= aliases
    assert not any(metric.name for kind, message in own if kind == "DDATA" for metric in message.metrics)
    born = next(message for kind, message in own if kind == "NBIRTH")
    death = next(message for kind, message in kinds if kind == "NDEATH")
    assert [metric.long_value for metric in born.metrics if metric.name == "bdSeq"] == [death.metrics[0].long_value]


def test_an_edge_node_wraps_its_sequence_and_keeps_its_last_values() -> None:
    node = EdgeNode("g", "n", {"d": ("a", "b")})
    node.death()
    births = list(node.births(1_000_000))
    assert [topic for topic, _ in births] == ["spBv1.0/g/NBIRTH/n", "spBv1.0/g/DBIRTH/n/d"]
    first = Payload.FromString(births[1][1])
    assert all(metric.is_null for metric in first.metrics)
    samples = pack([2_000_000, 3_000_000], [1.5, np.nan], [0, 1], [2, 0], [0, BAD_SENSOR])
    numbers = [Payload.FromString(node.data("d", samples, 4_000_000)[1]).seq for _ in range(260)]
    assert numbers[:2] == [2, 3]
    assert numbers[253:256] == [255, 0, 1]
    again = Payload.FromString(node.device_birth("d", 5_000_000)[1])
    assert [(metric.timestamp, metric.is_null) for metric in again.metrics] == [(2000, False), (3000, True)]
    assert again.metrics[1].properties.values[0].int_value == 0


async def test_opcua_keeps_times_to_the_microsecond_and_codes_whole(field_reader: FieldReader) -> None:
    server = OpcUaServer([ServedWell("W", ("a",))])
    start = 1_500_000_000_123_457
    codes = [0, 0x40920000, BAD_SENSOR, 0]
    values = [1.0, 1.0, np.nan, 1.0]
    await server.start("127.0.0.1", 0, [pack([start], [0.5], [0], 2)])
    assert server.subscribers(0) == frozenset()
    client = await field_reader.opcua(server.url)
    await until(lambda: field_reader.seen["W", "a"])
    assert len(server.subscribers(0)) == 1
    await server.write(0, pack([start + at for at in (1, 2, 3, 4)], values, [0] * 4, 2, codes))
    await until(lambda: len(field_reader.seen["W", "a"]) == 5)
    await until(lambda: server.backlog() == 0)
    await client.disconnect()
    await server.close()
    assert field_reader.seen["W", "a"] == [
        (start, 0.5),
        *((start + at, value) for at, value in ((1, 1.0), (2, 1.0), (3, None), (4, 1.0))),
    ]
    assert field_reader.status["W", "a"] == [0, *codes]


async def test_no_sample_is_lost_in_a_burst(field_reader: FieldReader) -> None:
    server = OpcUaServer([ServedWell("W", ("a", "b"))])
    await server.start("127.0.0.1", 0, [pack([0, 0], [0.0, 0.0], [0, 1], 2)])
    client = await field_reader.opcua(server.url)
    count = 6000
    times = np.repeat(np.arange(1, count + 1) * 1000, 2)
    await server.write(0, pack(times, np.arange(2 * count) % 7, np.tile([0, 1], count), 2))
    await until(lambda: len(field_reader.seen["W", "a"]) + len(field_reader.seen["W", "b"]) == 2 * count + 2)
    await client.disconnect()
    await server.close()
    assert [time for time, _ in field_reader.seen["W", "a"]] == [0, *range(1000, 1000 * count + 1, 1000)]


async def test_a_broker_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError) as caught:
        async with live("mqtt://field:hunter2@127.0.0.1:1", tmp_path, WallClock()):
            pass
    assert "WELLOS_MQTT_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_credentials_reach_the_fleet_file_as_references(tmp_path: Path) -> None:
    from wellos.simulator.endpoints import addresses_of  # noqa: PLC0415 - beside its one use
    from wellos.simulator.modbus_server import ModbusServer  # noqa: PLC0415 - same

    settings = Settings(mqtt_url="mqtt://field:hunter2@broker:1884", data_dir=tmp_path)
    found = addresses_of(settings, OpcUaServer([]), ModbusServer([]), broker_of(settings))
    assert found.mqtt_url == "mqtt://broker:1884"
    assert "hunter2" not in yaml.safe_dump(dict(found.mqtt_credentials))
    assert set(found.mqtt_credentials) == {"user", "password"}
