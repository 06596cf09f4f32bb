"""The Modbus server as pymodbus's own client sees it: values of every type and order, and the right exceptions."""

from __future__ import annotations

import math
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.constants import ExcCodes

from wellos.errors import UnreachableError
from wellos.protocols.modbus import parse_address
from wellos.simulator.addresses import Register
from wellos.simulator.modbus_server import ModbusServer, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

FORMATS = {"int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q"}
ORDERS = ("ABCD", "BADC", "CDAB", "DCBA")


def register(address: str, **more: float) -> Register:
    return Register(parse_address(address), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def serving(*registers: Register) -> AsyncIterator[tuple[ModbusServer, AsyncModbusTcpClient]]:
    server = ModbusServer(registers)
    client = AsyncModbusTcpClient("127.0.0.1", port=await server.start("127.0.0.1", 0), retries=0)
    await client.connect()
    try:
        yield server, client
    finally:
        client.close()
        await server.close()


def wire(order: str, big_endian: bytes) -> bytes:
    """Put bytes into an order by its name: A is the most significant of each word pair, words reversed as named."""
    words = [big_endian[at : at + 2] for at in range(0, len(big_endian), 2)]
    if order in ("BADC", "DCBA"):
        words = [word[::-1] for word in words]
    if order in ("CDAB", "DCBA"):
        words.reverse()
    return b"".join(words)


@given(st.sampled_from(sorted(FORMATS)), st.sampled_from(ORDERS), st.integers(0, 2**15 - 1))
def test_integers_of_every_width_and_order(kind: str, order: str, value: int) -> None:
    words = encode(register(f"1:holding:0:{kind}:{order}"), value)
    assert b"".join(word.to_bytes(2, "big") for word in words) == wire(order, struct.pack(">" + FORMATS[kind], value))


@given(st.sampled_from(ORDERS), st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_floats_of_both_widths_in_every_order(order: str, value: float) -> None:
    for kind, code in (("float32", ">f"), ("float64", ">d")):
        words = encode(register(f"1:input:7:{kind}:{order}"), value)
        assert b"".join(word.to_bytes(2, "big") for word in words) == wire(order, struct.pack(code, value))


@pytest.mark.parametrize(
    ("kind", "words"), [("uint16", [0xFFFF]), ("int16", [0x8000]), ("int32", [0x8000, 0]), ("uint32", [0xFFFF, 0xFFFF])]
)
def test_an_integer_without_a_value_is_the_far_end_of_its_range(kind: str, words: list[int]) -> None:
    assert encode(register(f"1:holding:0:{kind}"), math.nan) == words


def test_scale_and_offset_are_taken_out_and_the_range_kept() -> None:
    tenths = register("1:holding:0:uint16", scale=0.1, offset=-40.0)
    assert encode(tenths, 60.0) == [1000]
    assert encode(tenths, -100.0) == [0]
    assert encode(tenths, 1e9) == [0xFFFF]


async def test_units_tables_and_holes() -> None:
    laid = [register("1:holding:10:float32:CDAB"), register("1:holding:14:uint16"), register("2:input:0:int16")]
    async with serving(*laid, register("2:coil:3:bool")) as (server, client):
        for one, value in zip((*laid, register("2:coil:3:bool")), (1.25, 7, -5, 1), strict=True):
            server.write(one, value)
        assert (await client.read_holding_registers(10, count=5, device_id=1)).registers == [0, 0x3FA0, 0, 0, 7]
        assert (await client.read_input_registers(0, count=1, device_id=2)).registers == [0xFFFB]
        assert (await client.read_coils(3, count=1, device_id=2)).bits[0] is True
        assert server.reads == 3


async def test_each_mistake_has_its_exception() -> None:
    async with serving(register("1:holding:10:float32")) as (server, client):
        past = await client.read_holding_registers(10, count=3, device_id=1)
        before = await client.read_holding_registers(9, count=1, device_id=1)
        other_table = await client.read_input_registers(10, count=2, device_id=1)
        assert {past.exception_code, before.exception_code, other_table.exception_code} == {ExcCodes.ILLEGAL_ADDRESS}
        no_unit = await client.read_holding_registers(10, count=2, device_id=9)
        assert no_unit.exception_code == ExcCodes.GATEWAY_NO_RESPONSE
        written = await client.write_register(10, 1, device_id=1)
        assert written.exception_code == ExcCodes.ILLEGAL_FUNCTION
        server.refuse(1, ExcCodes.DEVICE_BUSY)
        assert (await client.read_holding_registers(10, count=2, device_id=1)).exception_code == ExcCodes.DEVICE_BUSY
        server.refuse(1, None)
        assert not (await client.read_holding_registers(10, count=2, device_id=1)).isError()


def test_two_tags_may_not_share_a_register() -> None:
    with pytest.raises(ValueError, match="share a register"):
        ModbusServer([register("1:holding:10:float32"), register("1:holding:11:uint16")])


async def test_a_taken_port_is_named() -> None:
    async with serving(register("1:holding:0:uint16")) as (server, _):
        with pytest.raises(UnreachableError, match="WELLOS_MODBUS_PORT"):
            await ModbusServer([register("1:holding:0:uint16")]).start("127.0.0.1", server.port)
