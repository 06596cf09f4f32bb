"""Modbus as others wrote it down: a capture with its expected decode, and the register maps of real devices."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streaming.adapters.modbus_decode import Layout, plan
from streaming.adapters.modbus_frame import FUNCTIONS, Request, TcpReceiver
from tests.fix_adapters import Collector, make_connection, make_tag, running
from tests.fix_modbus import RawPeer, raw_peer
from wellos.protocols.modbus import parse_address

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

VECTORS = Path(__file__).parents[3] / "shared" / "data" / "protocol_vectors"
pytestmark = pytest.mark.skipif(not VECTORS.exists(), reason=f"{VECTORS} is not there")
TABLES = {
    "READ_COILS": "coil",
    "READ_DISCRETE_INPUTS": "discrete",
    "READ_HOLDING_REGISTERS": "holding",
    "READ_INPUT_REGISTERS": "input",
}


@dataclass(frozen=True)
class Read:
    """What the reference decoder says of one read."""

    transaction: int
    unit: int
    table: str
    start: int
    values: list[float]

    @property
    def addresses(self) -> list[str]:
        kind = "bool" if self.table in ("coil", "discrete") else "uint16"
        return [f"{self.unit}:{self.table}:{self.start + place}:{kind}" for place in range(len(self.values))]


@cache
def reads() -> list[Read]:
    found = []
    for line in (VECTORS / "modbus" / "expected" / "modbus_detailed.log").read_text().splitlines():
        fields = line.split("\t")
        if len(fields) > 12 and fields[8] in TABLES and fields[12] != "-":
            values = [float(word) for word in fields[12].split(",")]
            assert len(values) == int(fields[10])
            found.append(Read(int(fields[6]), int(fields[7]), TABLES[fields[8]], int(fields[9]), values))
    assert len(found) == 8
    return found


def _tcp_payloads(capture: bytes) -> Iterator[tuple[int, int, bytes]]:
    offset = 24
    while offset < len(capture):
        size = int.from_bytes(capture[offset + 8 : offset + 12], "little")
        packet = capture[offset + 16 : offset + 16 + size]
        offset += 16 + size
        internet = packet[14:]
        header, total = (internet[0] & 15) * 4, int.from_bytes(internet[2:4], "big")
        segment = internet[header:total]
        body = segment[(segment[12] >> 4) * 4 :]
        if body:
            yield int.from_bytes(segment[:2], "big"), int.from_bytes(segment[2:4], "big"), body


@cache
def sent(port: int) -> bytes:
    """All that the server (502) or the client (0) of the capture sent, one after the other."""
    capture = (VECTORS / "modbus" / "modbus_example.pcap").read_bytes()
    return b"".join(body for source, _, body in _tcp_payloads(capture) if (source == 502) == (port == 502))


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_capture_of_a_real_exchange(size: int) -> None:
    """What the reference decoder read out of a capture is what we do, however the stream is cut."""
    receiver, stream = TcpReceiver(), sent(502)
    answers = [one for at in range(0, len(stream), size) for one in receiver.feed(stream[at : at + size])]
    for read in reads():
        answer = next(
            one
            for one in answers
            if one.transaction == read.transaction and one.function == FUNCTIONS[read.table]  # type: ignore[index]
        )
        layout = Layout(plan(enumerate(map(parse_address, read.addresses)), 120, 8))
        (block,) = layout.blocks
        assert answer.fits(block.request)
        assert answer.data is not None
        assert len(answer.data) == block.request.size
        values, _ = layout.decode(np.frombuffer(answer.data, dtype=np.uint8))
        assert values.tolist() == read.values


def test_our_requests_are_those_of_the_capture() -> None:
    stream = sent(0)
    for read in reads():
        request = Request(read.unit, FUNCTIONS[read.table], read.start, len(read.values))  # type: ignore[index]
        assert request.tcp(read.transaction) in stream


async def test_the_adapter_reads_what_the_capture_holds() -> None:
    """A server that answers with the bytes of the capture, under the number of the request it is asked."""
    by_request = defaultdict(bytes)
    receiver, stream = TcpReceiver(), sent(502)
    numbers = {answer.transaction: answer for answer in receiver.feed(stream)[::-1] if answer.function in range(1, 5)}
    for read in reads():
        answer = numbers[read.transaction]
        request = Request(read.unit, answer.function, read.start, len(read.values))
        body = answer.data or b""
        length = (3 + len(body)).to_bytes(2, "big")
        by_request[request.tcp(0)[6:]] = b"\0\0" + length + bytes([read.unit, answer.function, len(body)]) + body

    def replay(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        transport.write(request[:2] + by_request[request[6:]])

    expected: dict[str, float] = {}
    for read in reads():
        if len(read.values) > 1:
            expected |= dict(zip(read.addresses, read.values, strict=True))
    tags = [make_tag(number, address, interval_s=60) for number, address in enumerate(expected)]
    collector = Collector()
    async with raw_peer(replay) as peer:
        connection = make_connection("modbus", {"host": "127.0.0.1", "port": peer.port}, tags)
        async with running(connection, collector):
            await collector.until(lambda: len(collector.readings) >= len(tags))
    assert [collector.values(tag.tag_id)[0] for tag in tags] == list(expected.values())
