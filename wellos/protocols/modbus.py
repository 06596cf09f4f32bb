"""Modbus: the configuration of a connection, and the address of a tag (unit, table, register, type, byte order)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, cast, get_args

from pydantic import BaseModel, ConfigDict, Field

from wellos.protocols.config import ProtocolConfig, address_problem
from wellos.validation import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ModbusAddress",
    "ModbusConfig",
    "Order",
    "RegisterType",
    "Table",
    "UnitConfig",
    "address_parser",
    "classic_register",
    "parse_address",
]

Table = Literal["coil", "discrete", "input", "holding"]
RegisterType = Literal[
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "string",
]
Order = Literal["ABCD", "BADC", "CDAB", "DCBA"]

_FORM = "unit:table:register:type[:order]"
_EXAMPLE = "1:holding:100:float32:CDAB"
_BIT_TABLES = ("coil", "discrete")
_WIDTHS = {"16": 1, "32": 2, "64": 4}
_MAX_UNIT = 255
_MAX_REGISTER = 0xFFFF
_LAST_BIT = 15
_LONGEST_STRING = 240
_CLASSIC = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_PARTS = (4, 5)


class UnitConfig(BaseModel):
    """What differs for one unit behind a gateway."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    timeout_s: float | None = Field(None, gt=0, le=600, description="Longest wait for an answer of this unit.")
    retries: int | None = Field(None, ge=0, le=20, description="Further tries for this unit.")


class ModbusConfig(ProtocolConfig):
    """A Modbus device or gateway. Tags are polled, each at its own `interval_s`, in as few reads as can be."""

    host: str = Field(min_length=1, max_length=253, pattern=r"^[^\s/@]+$", description="Host name or address.")
    port: int = Field(502, ge=1, le=65535, description="TCP port.")
    framing: Literal["tcp", "rtu"] = Field(
        "tcp",
        description="`tcp`: Modbus TCP; `rtu`: RTU frames with their CRC over TCP, as serial servers pass them on.",
    )
    timeout_s: float = Field(3, gt=0, le=600, description="Longest wait for an answer.")
    retries: int = Field(3, ge=0, le=20, description="Further tries of a request that got no answer or `device busy`.")
    max_registers: int = Field(120, ge=4, le=125, description="Most registers read at once (the protocol allows 125).")
    max_gap: int = Field(8, ge=0, le=120, description="Unused registers read along to join two blocks into one read.")
    units: dict[Annotated[int, Field(strict=False, ge=0, le=_MAX_UNIT)], UnitConfig] = Field(
        default={},
        max_length=_MAX_UNIT + 1,
        description="`timeout_s` and `retries` of single units: `{3: {timeout_s: 1, retries: 0}}`.",
    )

    def timeout_of(self, unit: int) -> float:
        """Return the longest wait for an answer of a unit, in seconds."""
        own = self.units.get(unit)
        return self.timeout_s if own is None or own.timeout_s is None else own.timeout_s

    def tries_of(self, unit: int) -> int:
        """Return how often a unit is asked at most, the first time included."""
        own = self.units.get(unit)
        return 1 + (self.retries if own is None or own.retries is None else own.retries)


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """Where a value lies in a device. Registers count from 0, as on the wire.

    The order names the bytes of a 32-bit value as they come over the wire, A the most significant: ABCD big-endian,
    CDAB words swapped, BADC bytes swapped in each word, DCBA little-endian; 64-bit values likewise over four words.
    In a 16-bit value only the bytes can be swapped: BADC and DCBA swap them, ABCD and CDAB do not. An 8-bit value is
    the low byte of its register, with BADC the high one. In a string BADC puts the second character of each register
    first. Bit 0 of a register is its least significant.
    """

    unit: int
    table: Table
    register: int
    type: RegisterType
    order: Order = "ABCD"
    bit: int | None = None
    """Which bit of a register a `bool` is; None in the tables of bits."""
    length: int = 0
    """Characters of a `string`."""

    @property
    def registers(self) -> int:
        """How many registers (bits, in coil and discrete) the value takes."""
        return (self.length + 1) // 2 if self.type == "string" else _WIDTHS.get(self.type[-2:], 1)

    def __str__(self) -> str:
        """Return the address as the fleet file writes it."""
        order = "" if self.order == "ABCD" else f":{self.order}"
        bit = "" if self.bit is None else f".{self.bit}"
        return f"{self.unit}:{self.table}:{self.register}{bit}:{self.type}{self.length or ''}{order}"


def parse_address(text: str) -> ModbusAddress:
    """Parse `unit:table:register:type[:order]`; ConfigurationError says what is wrong with any other text.

    E.g. `1:holding:100:float32:CDAB`, `1:holding:7.3:bool`, `1:input:0:string8`.
    """
    parts = text.split(":")
    if len(parts) not in _PARTS:
        raise address_problem(text, f"is not a Modbus address {_FORM}", f"E.g. {_EXAMPLE}")
    table = cast("Table", _one_of(text, parts[1], get_args(Table), "table"))
    kind, length = _type(text, table, parts[3])
    order = cast("Order", _one_of(text, parts[4] if len(parts) == max(_PARTS) else "ABCD", get_args(Order), "order"))
    if kind == "bool" and len(parts) == max(_PARTS):
        raise address_problem(text, "gives a byte order to a single bit", f"Write {':'.join(parts[:4])}")
    if kind == "string" and order in ("CDAB", "DCBA"):
        raise address_problem(text, f"gives the order {order} to a string", "Only ABCD and BADC apply to characters")
    unit = _number(text, parts[0], _MAX_UNIT, "unit")
    digits, point, bit = parts[2].partition(".")
    address = ModbusAddress(unit, table, _register(text, digits, table), kind, order, length=length)
    if kind == "bool" and table not in _BIT_TABLES:
        if not point:
            raise address_problem(text, "does not say which bit", f"Write {digits}.0 to {digits}.{_LAST_BIT}")
        address = replace(address, bit=_number(text, bit, _LAST_BIT, "bit"))
    elif point:  # bits lie in registers, and only there
        raise address_problem(text, f"asks for a bit as {parts[3]}", f"Write bool, or {digits} without the bit")
    if address.register + address.registers - 1 > _MAX_REGISTER:
        raise address_problem(text, f"runs past the last register {_MAX_REGISTER}", "Registers count from 0")
    return address


def address_parser(config: Mapping[str, object]) -> Callable[[str], ModbusAddress]:
    """Return the parser for a connection of this configuration: it refuses a tag wider than one read."""
    most = config.get("max_registers", ModbusConfig.model_fields["max_registers"].default)

    def parse(text: str) -> ModbusAddress:
        address = parse_address(text)
        if isinstance(most, int) and address.registers > most:
            remedy = "Raise max_registers of the connection, or shorten the tag"
            raise address_problem(text, f"takes {address.registers} registers, more than max_registers {most}", remedy)
        return address

    return parse


def _type(text: str, table: Table, word: str) -> tuple[RegisterType, int]:
    if table in _BIT_TABLES:
        if word != "bool":
            raise address_problem(
                text, f"reads {word or 'nothing'} from a table of bits", f"{table} takes the type bool"
            )
        return "bool", 0
    if word.startswith("string"):
        digits = word.removeprefix("string")
        # One way to write a length, so that an address has one text.
        if not re.fullmatch(r"[1-9][0-9]{0,2}", digits) or int(digits) > _LONGEST_STRING:
            remedy = f"Write string1 to string{_LONGEST_STRING}: two characters lie in a register"
            raise address_problem(text, "has a string without a proper length", remedy)
        return "string", int(digits)
    names = [name for name in get_args(RegisterType) if name != "string"]
    return cast("RegisterType", _one_of(text, word, names, "type")), 0


def _register(text: str, digits: str, table: Table) -> int:
    if len(digits) == 6 and digits.isdigit() and _CLASSIC.get(digits[0]) == table and int(digits[1:]) > 0:  # noqa: PLR2004
        raise address_problem(text, f"has register {digits}, in the 1-based notation", f"Write {int(digits[1:]) - 1}")
    return _number(text, digits, _MAX_REGISTER, "register")


def classic_register(address: ModbusAddress) -> int | None:
    """Return the 0-based register meant by 40101 or 30101 written where registers count from 0; None: nothing odd."""
    digits = str(address.register)
    if len(digits) == 5 and _CLASSIC.get(digits[0]) == address.table and int(digits[1:]) > 0:  # noqa: PLR2004
        return int(digits[1:]) - 1
    return None


def _one_of(text: str, word: str, allowed: list[str] | tuple[str, ...], noun: str) -> str:
    if word in allowed:
        return word
    near = nearest(word, allowed)
    remedy = f"Did you mean {near}? Allowed: {', '.join(allowed)}" if near else f"Allowed: {', '.join(allowed)}"
    raise address_problem(text, f"has no such {noun} {word!r}", remedy)


def _number(text: str, digits: str, highest: int, noun: str) -> int:
    if not (digits.isascii() and digits.isdigit()) or int(digits) > highest:
        raise address_problem(text, f"has a {noun} that is not a number from 0 to {highest}", f"E.g. {_EXAMPLE}")
    return int(digits)
