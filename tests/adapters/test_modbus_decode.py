from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.adapters.modbus_decode import Layout, number_in, plan
from wellos.protocols.modbus import ModbusAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.adapters.modbus_decode import Block
    from wellos.protocols.modbus import Order, RegisterType

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


def decode(blocks: Sequence[Block], *registers: Sequence[int]) -> list[float]:
    """Decode what each of some reads brought, as registers (or bits), by position."""
    parts = [
        np.packbits(np.array(words, dtype=np.uint8), bitorder="little").tobytes()
        if block.bits
        else np.array(words, dtype=">u2").tobytes()
        for block, words in zip(blocks, registers, strict=True)
    ]
    layout = Layout(blocks)
    values, _ = layout.decode(np.frombuffer(b"".join(parts), dtype=np.uint8))
    ordered: list[float] = values[np.argsort(layout.positions)].tolist()
    return ordered


def decode_one(text: str, registers: list[int]) -> float:
    return decode(plan([(0, parse_address(text))], 120, 8), registers)[0]


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
    images = [
        [image[block.unit, block.table].get(block.start + offset, 0xDEAD) for offset in range(block.count)]
        for block in blocks
    ]
    assert decode(blocks, *images) == [value for _, value in tags]


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
    bits = [0] * 98
    bits[97] = 1
    assert decode([first, second], bits, [1]) == [0.0, 1.0, 1.0]


def test_bits_of_registers_count_from_the_least_significant() -> None:
    tags = [parse_address(f"1:holding:7.{bit}:bool") for bit in range(16)]
    assert decode(plan(enumerate(tags), 120, 8), [0b1000_0001_0000_0110]) == [0, 1, 1, 0, 0, 0, 0, 0, 1, *[0] * 6, 1]


@pytest.mark.parametrize(
    ("text", "register", "value"),
    [
        ("1:input:0:int8", 0x12FE, -2.0),
        ("1:input:0:uint8", 0x12FE, 254.0),
        ("1:input:0:uint8:BADC", 0x12FE, 18.0),
        ("1:input:0:int8:DCBA", 0xFE12, -2.0),
    ],
)
def test_bytes_of_registers(text: str, register: int, value: float) -> None:
    assert decode_one(text, [register]) == value


@pytest.mark.parametrize(
    ("text", "content", "value"),
    [
        ("1:input:0:string4", b"12.5", 12.5),
        ("1:input:0:string8", b" -3e2\0\0\0", -300.0),
        ("1:input:0:string3", b"1234", 123.0),
        ("1:input:0:string4:BADC", b"215.", 12.5),
    ],
)
def test_strings_that_are_numbers(text: str, content: bytes, value: float) -> None:
    assert decode_one(text, np.frombuffer(content, dtype=">u2").tolist()) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_written_as_text_comes_back(value: float) -> None:
    assert number_in(repr(value).encode()) == value


@given(st.binary(max_size=20))
def test_any_text_is_a_finite_number_or_none(content: bytes) -> None:
    value = number_in(content)
    assert np.isnan(value) or np.isfinite(value)


@pytest.mark.parametrize(
    "content", [b"", b"RUN", b"1_0", b"nan", b"inf", b"1e999", b"0x10", b"1,5", "\u0661".encode(), b"1 2"]
)
def test_other_text_is_no_number(content: bytes) -> None:
    assert np.isnan(number_in(content))
