"""Modbus as others wrote it down: a capture with its expected decode, and the register maps of real devices."""

from __future__ import annotations

import struct
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from streaming.adapters.modbus_decode import Layout, plan
from streaming.adapters.modbus_frame import FUNCTIONS, Request, TcpReceiver
from tests.fix_adapters import Collector, make_connection, make_tag, running
from tests.fix_modbus import RawPeer, raw_peer
from wellos.cli.modbus import modbus
from wellos.fleet.check import check
from wellos.protocols.modbus import parse_address

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from wellos.protocols.modbus import ModbusAddress

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


MAPS = VECTORS / "modbus_register_maps" / "registers.parquet"
FORMATS = {"int": "bhiq", "uint": "BHIQ", "float": "  fd"}


def devices() -> list[str]:
    return sorted(pl.read_parquet(MAPS)["device"].unique().to_list()) if MAPS.exists() else []


def words_of(address: ModbusAddress, value: int) -> list[int]:
    """Lay a value out in registers apart from the decoder, by shuffling letters; text as the digits of the value."""
    if address.type == "string":
        raw = str(value).encode().ljust(2 * address.registers, b"\0")
        return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]
    kind = address.type.rstrip("0123456789")
    bits = int(address.type.removeprefix(kind))
    raw = struct.pack(">" + FORMATS[kind][(8, 16, 32, 64).index(bits)], value).rjust(2, b"\x5a")
    words = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    if address.order in ("CDAB", "DCBA"):
        words.reverse()
    if address.order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


@pytest.mark.parametrize("device", devices())
async def test_the_register_map_of_a_real_device_is_imported_polled_and_decoded(
    device: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From its row in the map to readings in engineering units, over a socket."""
    arguments = ["--host", "127.0.0.1", "--tenant", "t", "--well", "W", "--lift-type", "esp", "--strings"]
    modbus.main(["import", str(MAPS), "--device", device, *arguments], standalone_mode=False)
    fleet = check(capsys.readouterr().out.encode(), "fragment").fleet
    (connection,) = fleet.tenants[0].connections
    rows = pl.read_parquet(MAPS).filter(pl.col("device") == device)
    assert len(connection.tags) == len(rows)
    image: dict[int, dict[int, int]] = {3: {}, 4: {}}
    expected: dict[int, float] = {}
    tags = []
    for number, (entry, multiplier) in enumerate(zip(connection.tags, rows["multiplier"], strict=True), start=1):
        address = parse_address(entry.address)
        # Where two tags share registers the first is laid down, and the second not compared.
        table = image[3 if address.table == "holding" else 4]
        words = words_of(address, number)
        places = range(address.register, address.register + len(words))
        if not any(place in table for place in places):
            table.update(zip(places, words, strict=True))
            expected[number] = number * multiplier
        tags.append(make_tag(number, entry.address, scale=entry.scale, interval_s=entry.interval_s))

    def answer(_peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        function, start, count = struct.unpack(">7xBHH", request)
        data = b"".join(image[function].get(start + at, 0xFFFF).to_bytes(2, "big") for at in range(count))
        body = bytes([request[6], function, len(data)]) + data
        transport.write(request[:4] + len(body).to_bytes(2, "big") + body)

    collector = Collector()
    async with raw_peer(answer) as peer:
        config = connection.entry.config | {"port": peer.port}
        async with running(make_connection("modbus", config, tags), collector):
            await collector.until(lambda: len(collector.readings) >= len(tags))
    assert len(expected) >= 0.7 * len(tags)
    for number, value in expected.items():
        assert collector.values(number)[0] == pytest.approx(value, rel=1e-9), connection.tags[number - 1]


def test_every_register_of_every_device_is_in_some_test() -> None:
    assert len(devices()) == 24
    assert len(pl.read_parquet(MAPS)) == 712
