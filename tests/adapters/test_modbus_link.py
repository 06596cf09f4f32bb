"""The Modbus link with peers that no library plays: RTU over TCP, late answers, silent units, nonsense."""

from __future__ import annotations

import asyncio
import struct
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pymodbus import FramerType
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from streaming.delivery import Status
from tests.adapters.test_modbus_adapter import connection_to
from tests.fix_adapters import Collector, running
from tests.fix_modbus import RawPeer, raw_peer, registers_rtu, registers_tcp
from wellos.quality import MODBUS_NO_REPLY, MODBUS_NOT_A_NUMBER, Quality

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.readings import Readings


def numbering(framing: str) -> tuple[Callable[[bytes, int], bytes], int]:
    """Return how registers are answered in a framing, and where the unit is in a request."""
    return (registers_rtu, 0) if framing == "rtu" else (registers_tcp, 6)


def answered(collector: Collector, tag_id: int = 100) -> Readings:
    """Return what came in time."""
    readings = collector.of(tag_id)
    found: Readings = readings[readings["status"] == 0]
    return found


async def test_rtu_over_tcp_with_a_library_server() -> None:
    device = SimDevice(7, simdata=[SimData(10, values=[0x42F6, 0xE979], datatype=DataType.REGISTERS)])
    server = ModbusTcpServer(device, framer=FramerType.RTU, address=("127.0.0.1", 0))
    await server.serve_forever(background=True)
    transport: Any = server.transport
    collector = Collector()
    connection = connection_to(transport.sockets[0].getsockname()[1], "7:holding:10:float32", framing="rtu")
    async with running(connection, collector):
        await collector.until(lambda: len(collector.readings) >= 3)
    await asyncio.sleep(0.05)  # the library hears of our hanging up: its shutdown leaves an open connection open
    shutdown: Any = server.shutdown
    await shutdown()
    assert np.float32(collector.values(100)[0]) == np.float32(123.456)
    assert (collector.readings["quality"] == Quality.GOOD).all()


@pytest.mark.parametrize("noise", [b"\xff" * 9, b"\x01\x03\xfa", bytes(200)])
async def test_rtu_noise_before_and_within_is_passed_over(noise: bytes) -> None:
    def answer(peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        frame = registers_rtu(request, 55)
        broken = frame[:3] + bytes([frame[3] ^ 1]) + frame[4:]
        transport.write(noise + frame if len(peer.requests) % 2 else broken)

    collector = Collector()
    async with raw_peer(answer) as peer:
        connection = connection_to(peer.port, "1:input:0:uint16", framing="rtu", retries=0, timeout_s=0.3)
        while len(answered(collector)) < 2 or len(answered(collector)) == len(collector.readings):
            async with running(connection, collector) as session:
                await collector.until(lambda: len(answered(collector)) >= 2 or session.task.done())
    readings = collector.readings
    assert set(readings["value"][readings["status"] == 0].tolist()) == {55.0}
    assert set(readings["status"].tolist()) == {0, MODBUS_NO_REPLY}, "a wrong CRC is no value"


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_a_late_answer_is_never_taken_for_the_present_one(framing: str) -> None:
    """The peer answers every other request only after its time-out, when the next one is under way."""
    frame, _ = numbering(framing)
    held: list[tuple[asyncio.Transport, bytes]] = []
    number = 0

    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        nonlocal number
        number += 1
        mine = frame(request, number)
        if number % 2:
            held.append((transport, mine))
            return
        late = b"".join(old for before, old in held if before is transport)
        held.clear()
        transport.write(late)
        asyncio.get_running_loop().call_later(0.02, transport.write, mine)

    collector = Collector()
    async with raw_peer(answer) as peer:
        connection = connection_to(peer.port, "1:holding:0:uint16", framing=framing, retries=1, timeout_s=0.5)
        sessions = 0
        while len(answered(collector)) < 5:  # on a busy machine what is in time comes late as well
            sessions += 1
            async with running(connection, collector) as session:
                await collector.until(lambda: len(answered(collector)) >= 5 or session.task.done())
    values = answered(collector)["value"].tolist()
    assert all(value % 2 == 0 for value in values), "an odd one came after its time"
    assert sorted(set(values)) == values, "each answer is used once"
    assert (peer.connects > sessions) == (framing == "rtu"), (
        "RTU answers carry no number: a new connection tells them apart"
    )


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_a_silent_unit_costs_the_others_its_own_budget_only(framing: str) -> None:
    frame, at = numbering(framing)

    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        if request[at] != 3:
            transport.write(frame(request, request[at]))

    silent = [f"3:holding:{place}:uint16" for place in range(0, 1000, 100)]
    collector = Collector()
    async with raw_peer(answer) as peer:
        config: dict[str, Any] = {"framing": framing, "timeout_s": 30, "units": {3: {"timeout_s": 0.05, "retries": 1}}}
        connection = connection_to(peer.port, *silent, "1:holding:0:uint16", "9:holding:0:uint16", retries=3, **config)
        async with running(connection, collector):
            await collector.until(lambda: len(collector.deliveries) >= 5)
        asked = [request for request in peer.requests if request[at] == 3]
    for number, unit in ((110, 1.0), (111, 9.0)):
        assert collector.values(number)[:5] == [unit] * 5
    assert set(collector.of(100)["status"].tolist()) == {MODBUS_NO_REPLY}
    assert 6 <= len(asked) <= 2 + len(collector.deliveries), "twice in the first poll, then once in each"
    places = [struct.unpack(">H", request[at + 2 : at + 4])[0] for request in asked]
    assert len(set(places)) >= 5, "each poll tries another of its reads"


async def test_a_gateway_that_says_that_a_unit_is_silent_is_not_asked_for_it_again_and_again() -> None:
    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        if request[6] == 3:
            refusal = request[:2] + struct.pack(">HHBBB", 0, 3, 3, 0x83, 11)
            asyncio.get_running_loop().call_later(0.05, transport.write, refusal)
        else:
            transport.write(registers_tcp(request, 1))

    silent = [f"3:holding:{place}:uint16" for place in range(0, 1000, 100)]
    collector = Collector()
    async with raw_peer(answer) as peer:
        connection = connection_to(peer.port, *silent, "1:holding:0:uint16", retries=0)
        async with running(connection, collector):
            await collector.until(lambda: len(collector.deliveries) >= 4)
        asked = [request for request in peer.requests if request[6] == 3]
    assert collector.values(110)[:4] == [1.0] * 4
    assert len(asked) <= 1 + len(collector.deliveries)
    for number in range(100, 110):
        assert set(collector.of(number)["status"].tolist()) == {11}, "also those that were not asked for"


async def test_silence_on_one_register_is_not_silence_of_the_unit() -> None:
    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        if request[8:10] != b"\x00\x00":
            transport.write(registers_tcp(request, 4))

    collector = Collector()
    async with raw_peer(answer) as peer:
        addresses = [f"1:holding:{place}:uint16" for place in (0, 500, 900)]
        async with running(connection_to(peer.port, *addresses, timeout_s=0.5, retries=0), collector):
            await collector.until(lambda: min(len(answered(collector, number)) for number in (101, 102)) >= 4)
    assert not np.isfinite(collector.of(100)["value"]).any()
    for number in (101, 102):
        assert set(answered(collector, number)["value"].tolist()) == {4.0}


@pytest.mark.parametrize(
    ("sends", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "begins no frame"),
        (struct.pack(">HHHBBBH", 9999, 0, 5, 1, 3, 2, 7) * 900, "bytes that answer nothing"),
    ],
)
async def test_a_peer_that_speaks_something_else_is_a_lost_connection(sends: bytes, reason: str) -> None:
    def answer(_peer: RawPeer, transport: asyncio.Transport, _request: bytes) -> None:
        transport.write(sends)

    collector = Collector()
    async with raw_peer(answer) as peer, running(connection_to(peer.port, "1:holding:0:uint16"), collector) as session:
        assert reason in str(await session.lost())
    assert len(collector.readings) == 0


@pytest.mark.parametrize(
    "body", [b"\x01\x03\x04\x00\x01\x00\x02", b"\x01\x83\x00", b"\x02\x03\x02\x00\x01", b"\x01\x04\x02\x00\x01"]
)
async def test_an_answer_to_something_else_is_no_value(body: bytes) -> None:
    """Of the wrong size, an exception without a code, of another unit, of another function."""

    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        transport.write(request[:2] + struct.pack(">HH", 0, len(body)) + body)

    collector = Collector()
    async with raw_peer(answer) as peer:
        connection = connection_to(peer.port, "1:holding:0:uint16", timeout_s=0.05, retries=0)
        async with running(connection, collector):
            await collector.until(lambda: len(collector.readings) >= 1)
    assert collector.readings["status"][0] == MODBUS_NO_REPLY
    assert np.isnan(collector.readings["value"][0])


async def test_text_goes_to_quarantine_once_and_is_a_bad_reading_each_time() -> None:
    texts = [b"12.5", b"FAULT\0\0\0", b"FAULT\0\0\0", b"\0" * 8, b"-7"]

    def answer(peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        content = texts[min(len(peer.requests), len(texts)) - 1].ljust(8, b" ")
        transport.write(request[:2] + struct.pack(">HHBBB", 0, 11, 1, 3, 8) + content)

    collector, status = Collector(), Status()
    async with raw_peer(answer) as peer:
        connection = connection_to(peer.port, "1:holding:0:string8", interval_s=0.05)
        async with running(connection, collector, status):
            await collector.until(lambda: len(collector.readings) >= 5)
    readings = collector.readings[:5]
    assert [None if np.isnan(value) else value for value in readings["value"]] == [12.5, None, None, None, -7.0]
    assert readings["status"].tolist() == [0, *[MODBUS_NOT_A_NUMBER] * 3, 0]
    assert readings["quality"].tolist() == [Quality.GOOD, *[Quality.BAD] * 3, Quality.GOOD]
    (item,) = collector.rejected
    assert (item.reason, item.source, item.original) == ("not_a_number", "1:holding:0:string8", b"FAULT")
    assert "FAULT" in item.detail


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
async def test_whatever_a_peer_sends_is_an_answer_or_a_lost_connection(framing: str) -> None:
    """Noise, and answers of which bytes were altered, cut off or doubled."""
    frame, _ = numbering(framing)
    random = Random(7)

    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        sent = bytearray(frame(request, 7))
        kind = random.randrange(4)
        if kind == 0:
            sent[:] = random.randbytes(random.randrange(300))
        elif kind == 1:
            sent[random.randrange(len(sent) - 4)] ^= 1 << random.randrange(8)
        elif kind == 2:
            del sent[random.randrange(len(sent)) :]
        else:
            sent[3:3] = sent[: random.randrange(len(sent))]
        transport.write(bytes(sent))

    collector = Collector()
    async with raw_peer(answer) as peer:
        config: dict[str, Any] = {"framing": framing, "timeout_s": 0.02, "retries": 0, "interval_s": 0.01}
        connection = connection_to(peer.port, "1:holding:0:uint32", "1:coil:0:bool", **config)
        while len(peer.requests) < 60:
            async with running(connection, collector) as session:
                await session.lost()
    readings = collector.readings
    assert len(readings) > 5
    if framing == "rtu":  # the CRC tells: what is good was sent whole somewhere in the rest
        assert set(readings["value"][readings["quality"] == Quality.GOOD].tolist()) <= {7 * 65537.0}
    assert set(readings["status"].tolist()) <= {0, MODBUS_NO_REPLY, *range(1, 256)}
