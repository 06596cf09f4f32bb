from __future__ import annotations

import itertools
import struct
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.modbus_decode import BlockError, plan
from wellos.protocols.modbus import ModbusAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.protocols.modbus import Order, RegisterType

VECTORS = Path(__file__).parents[3] / "shared" / "data" / "protocol_vectors"
needs_vectors = pytest.mark.skipif(not VECTORS.exists(), reason=f"{VECTORS} is not there")
FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}
ORDERS = ["ABCD", "BADC", "CDAB", "DCBA"]
types = st.sampled_from(sorted(FORMATS))
orders = st.sampled_from(ORDERS)


def on_the_wire(kind: str, order: str, value: float) -> list[int]:
    """Lay a value out as the order says, written apart from the decoder: by shuffling the letters."""
    big = struct.pack(FORMATS[kind], value)
    words = [big[index : index + 2] for index in range(0, len(big), 2)]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    return [int.from_bytes(word, "big") for word in words]


def decode_one(text: str, registers: list[int]) -> float:
    address = parse_address(text)
    (block,) = plan([(0, address)], 120, 8)
    return float(block.decode(registers)[0])


@pytest.mark.parametrize(
    ("text", "registers", "value"),
    [
        ("1:holding:0:float32", [0x42F6, 0xE979], 123.456),
        ("1:holding:0:float32:CDAB", [0xE979, 0x42F6], 123.456),
        ("1:holding:0:float32:BADC", [0xF642, 0x79E9], 123.456),
        ("1:holding:0:float32:DCBA", [0x79E9, 0xF642], 123.456),
        ("1:input:0:int16", [0xFFFE], -2.0),
        ("1:input:0:uint16", [0xFFFE], 65534.0),
        ("1:input:0:int16:BADC", [0x0100], 1.0),
        ("1:input:0:int16:DCBA", [0x0100], 1.0),
        ("1:input:0:int16:CDAB", [0x0100], 256.0),
        ("1:input:0:int32", [0xFFFF, 0xFFFF], -1.0),
        ("1:input:0:uint32:CDAB", [0x0001, 0x0002], 131073.0),
        ("1:input:0:int64", [0x8000, 0, 0, 0], -(2.0**63)),
        ("1:input:0:uint64", [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF], 2.0**64),
        ("1:input:0:float64", [0x405E, 0xDD2F, 0x1A9F, 0xBE77], 123.456),
        ("1:input:0:float64:DCBA", [0x77BE, 0x9F1A, 0x2FDD, 0x5E40], 123.456),
    ],
)
def test_known_registers(text: str, registers: list[int], value: float) -> None:
    assert decode_one(text, registers) == pytest.approx(value, rel=1e-7)


@given(types, orders, st.data())
def test_every_type_and_order_comes_back(kind: RegisterType, order: Order, data: st.DataObject) -> None:
    size = struct.calcsize(FORMATS[kind])
    raw = data.draw(st.binary(min_size=size, max_size=size))
    (value,) = struct.unpack(FORMATS[kind], raw)
    registers = on_the_wire(kind, order, value)
    found = decode_one(f"1:holding:7:{kind}:{order}", registers)
    assert found == float(value) or (found != found and value != value)  # noqa: PLR0124 - NaN


def test_nan_is_kept_for_the_quality_to_follow() -> None:
    assert np.isnan(decode_one("1:holding:0:float32", [0x7FC0, 0]))


@st.composite
def layouts(draw: st.DrawFn) -> list[tuple[ModbusAddress, float]]:
    """Draw tags that do not share a register, over units and tables, each with a value."""
    tags = []
    place = 0
    for _ in range(draw(st.integers(1, 30))):
        kind, order = draw(types), draw(orders)
        place += draw(st.integers(0, 20))
        unit, table = draw(st.sampled_from([1, 2])), draw(st.sampled_from(["holding", "input"]))
        address = parse_address(f"{unit}:{table}:{place}:{kind}:{order}")
        value = draw(st.integers(0, 30_000))
        tags.append((address, float(value)))
        place += address.registers
    return tags


@given(layouts(), st.integers(4, 125), st.integers(0, 20))
def test_blocks_cover_every_tag_once_within_the_limits(
    tags: list[tuple[ModbusAddress, float]], max_registers: int, max_gap: int
) -> None:
    blocks = plan(enumerate(address for address, _ in tags), max_registers, max_gap)
    assert sorted(position for block in blocks for position in block.positions) == list(range(len(tags)))
    image: dict[tuple[int, str], dict[int, int]] = {}
    for address, value in tags:
        table = image.setdefault((address.unit, address.table), {})
        for offset, word in enumerate(on_the_wire(address.type, address.order, _typed(address.type, value))):
            table[address.register + offset] = word
    for block in blocks:
        assert block.count <= max_registers
        table = image[block.unit, block.table]
        used = sorted(place for place in table if block.start <= place < block.start + block.count)
        assert all(later - earlier <= max_gap + 1 for earlier, later in itertools.pairwise(used))
        registers = [table.get(block.start + offset, 0xDEAD) for offset in range(block.count)]
        for position, value in zip(block.positions, block.decode(registers).tolist(), strict=True):
            assert value == tags[position][1]


def _typed(kind: str, value: float) -> float:
    return value if kind.startswith("float") else int(value)


@given(layouts())
def test_splitting_ends_with_single_tags_and_loses_none(tags: list[tuple[ModbusAddress, float]]) -> None:
    waiting = plan(enumerate(address for address, _ in tags), 120, 8)
    single = []
    while waiting:
        block = waiting.pop()
        halves = block.split()
        waiting += halves
        if not halves:
            single.append(block)
    assert sorted(block.positions[0] for block in single) == list(range(len(tags)))
    assert all(block.count == block.addresses[0].registers for block in single)


def test_neighbours_join_over_small_gaps_only() -> None:
    def starts(*registers: int) -> list[tuple[int, int]]:
        tags = [(n, parse_address(f"1:holding:{register}:uint16")) for n, register in enumerate(registers)]
        return [(block.start, block.count) for block in plan(tags, 120, 8)]

    assert starts(0, 9) == [(0, 10)]
    assert starts(0, 10) == [(0, 1), (10, 1)]
    assert starts(5, 5) == [(5, 1)], "two tags may read one register"
    assert starts(*range(300)) == [(0, 120), (120, 120), (240, 60)]


def test_bits() -> None:
    tags = [(n, parse_address(f"1:coil:{place}:bool")) for n, place in enumerate((3, 100, 1900))]
    first, second = plan(tags, 120, 8)
    assert (first.start, first.count, second.start) == (3, 98, 1900)
    bits = [False] * 104
    bits[97] = True
    assert first.decode(bits).tolist() == [0.0, 1.0]


@given(st.lists(st.integers(0, 65535), max_size=9))
def test_a_short_reply_is_the_documented_error(registers: list[int]) -> None:
    (block,) = plan([(0, parse_address("1:holding:0:float64")), (1, parse_address("1:holding:8:float32"))], 120, 8)
    with pytest.raises(BlockError):
        block.decode(registers)


@needs_vectors
def test_register_maps_of_real_devices() -> None:
    """Every number of 24 real devices can be addressed, planned and read back."""
    names = {
        "32BIT_FLOAT_1234": ("float32", "ABCD"),
        "16BIT_INT_HI_FIRST": ("int16", "ABCD"),
        "16BIT_UINT_HI_FIRST": ("uint16", "ABCD"),
        "32BIT_INT_3412": ("int32", "CDAB"),
        "32BIT_UINT_1234": ("uint32", "ABCD"),
        "32BIT_INT_1234": ("int32", "ABCD"),
        "64BIT_INT_12345678": ("int64", "ABCD"),
        "64BIT_UINT_12345678": ("uint64", "ABCD"),
    }
    registers = pl.read_parquet(VECTORS / "modbus_register_maps" / "registers.parquet")
    checked = 0
    for (_device,), rows in registers.group_by("device"):
        tags = []
        for row in rows.filter(pl.col("format").is_in(list(names))).iter_rows(named=True):
            kind, order = names[row["format"]]
            table = "holding" if row["fnCode"].startswith("F3") else "input"
            tags.append(parse_address(f"1:{table}:{row['address']}:{kind}:{order}"))
        blocks = plan(enumerate(tags), 120, 8)
        assert len(blocks) <= max(1, len(tags))
        for block in blocks:
            image = np.zeros(block.count, dtype=np.uint16)
            seen: dict[int, float] = {}
            for position, address in zip(block.positions, block.addresses, strict=True):
                words = on_the_wire(address.type, address.order, _typed(address.type, float(position + 1)))
                place = address.register - block.start
                if not image[place : place + len(words)].any():
                    image[place : place + len(words)] = words
                    seen[position] = float(position + 1)
            values = dict(zip(block.positions, block.decode(image).tolist(), strict=True))
            assert {position: values[position] for position in seen} == seen
            checked += len(seen)
    assert checked > 600


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


@needs_vectors
def test_a_capture_of_a_real_exchange() -> None:
    """What the reference decoder read out of a capture is what the blocks give, for every read in it."""
    expected = {}
    log = (VECTORS / "modbus" / "expected" / "modbus_detailed.log").read_text()
    tables = {
        "READ_COILS": "coil",
        "READ_DISCRETE_INPUTS": "discrete",
        "READ_HOLDING_REGISTERS": "holding",
        "READ_INPUT_REGISTERS": "input",
    }
    for line in log.splitlines():
        fields = line.split("\t")
        if len(fields) > 12 and fields[8] in tables and fields[12] != "-":
            values = [float(word) for word in fields[12].split(",")]
            expected[int(fields[6])] = (int(fields[7]), tables[fields[8]], int(fields[9]), int(fields[10]), values)
    replies = {}
    for source, _target, body in _tcp_payloads((VECTORS / "modbus" / "modbus_example.pcap").read_bytes()):
        tid, function = int.from_bytes(body[:2], "big"), body[7]
        if source == 502 and function in (1, 2, 3, 4) and tid not in replies:
            replies[tid] = body[9 : 9 + body[8]]
    assert len(expected) == 8
    for tid, (unit, table, start, count, values) in expected.items():
        kind = "bool" if table in ("coil", "discrete") else "uint16"
        tags = [(n, parse_address(f"{unit}:{table}:{start + n}:{kind}")) for n in range(count)]
        (block,) = plan(tags, 120, 8)
        data = np.frombuffer(replies[tid], dtype=np.uint8)
        raw = np.unpackbits(data, bitorder="little") if block.bits else data.view(">u2")
        assert block.decode(cast("list[int]", raw.tolist())).tolist() == values
