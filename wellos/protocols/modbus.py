"""Modbus TCP: the configuration of a connection, and the address of a tag (unit, table, register, type, byte order)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast, get_args

from pydantic import Field

from wellos.protocols.config import ProtocolConfig, address_problem
from wellos.validation import nearest

__all__ = ["ModbusAddress", "ModbusConfig", "Order", "RegisterType", "Table", "parse_address"]

Table = Literal["coil", "discrete", "input", "holding"]
RegisterType = Literal["bool", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
Order = Literal["ABCD", "BADC", "CDAB", "DCBA"]

_FORM = "unit:table:register:type[:order]"
_EXAMPLE = "1:holding:100:float32:CDAB"
_BIT_TABLES = ("coil", "discrete")
_WIDTHS = {"16": 1, "32": 2, "64": 4}
_MAX_UNIT = 255
_MAX_REGISTER = 0xFFFF
_CLASSIC = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_PARTS = (4, 5)


class ModbusConfig(ProtocolConfig):
    """A Modbus TCP device or gateway. Tags are polled, each at its own `interval_s`, in as few reads as can be."""

    host: str = Field(min_length=1, max_length=253, pattern=r"^[^\s/@]+$", description="Host name or address.")
    port: int = Field(502, ge=1, le=65535, description="TCP port.")
    timeout_s: float = Field(3, gt=0, le=600, description="Longest wait for an answer.")
    retries: int = Field(3, ge=0, le=20, description="Further tries of a request that got no answer or `device busy`.")
    max_registers: int = Field(120, ge=4, le=125, description="Most registers read at once (the protocol allows 125).")
    max_gap: int = Field(8, ge=0, le=120, description="Unused registers read along to join two blocks into one read.")


@dataclass(frozen=True, slots=True)
class ModbusAddress:
    """Where a value lies in a device. Registers count from 0, as on the wire.

    The order names the bytes of a 32-bit value as they come over the wire, A the most significant: ABCD big-endian,
    CDAB words swapped, BADC bytes swapped in each word, DCBA little-endian; 64-bit values likewise over four words.
    In a 16-bit value only the bytes can be swapped: BADC and DCBA swap them, ABCD and CDAB do not.
    """

    unit: int
    table: Table
    register: int
    type: RegisterType
    order: Order = "ABCD"

    @property
    def registers(self) -> int:
        """How many registers (bits, in coil and discrete) the value takes."""
        return _WIDTHS.get(self.type[-2:], 1)

    def __str__(self) -> str:
        """Return the address as the fleet file writes it."""
        order = "" if self.order == "ABCD" else f":{self.order}"
        return f"{self.unit}:{self.table}:{self.register}:{self.type}{order}"


def parse_address(text: str) -> ModbusAddress:
    """Parse `unit:table:register:type[:order]`, e.g. `1:holding:100:float32:CDAB`.

    ConfigurationError says what is wrong with any other text; bits inside registers and strings are refused by name.
    """
    parts = text.split(":")
    if len(parts) not in _PARTS:
        raise address_problem(text, f"is not a Modbus address {_FORM}", f"E.g. {_EXAMPLE}")
    table = cast("Table", _one_of(text, parts[1], get_args(Table), "table"))
    kind = _type(text, table, parts[3])
    order = cast("Order", _one_of(text, parts[4] if len(parts) == max(_PARTS) else "ABCD", get_args(Order), "order"))
    if kind == "bool" and len(parts) == max(_PARTS):
        raise address_problem(text, "gives a byte order to a single bit", f"Write {':'.join(parts[:4])}")
    unit = _number(text, parts[0], _MAX_UNIT, "unit")
    address = ModbusAddress(unit, table, _register(text, parts[2], table), kind, order)
    if address.register + address.registers - 1 > _MAX_REGISTER:
        raise address_problem(text, f"runs past the last register {_MAX_REGISTER}", "Registers count from 0")
    return address


def _type(text: str, table: Table, word: str) -> RegisterType:
    if table in _BIT_TABLES:
        if word != "bool":
            raise address_problem(
                text, f"reads {word or 'nothing'} from a table of bits", f"{table} takes the type bool"
            )
        return "bool"
    if word in ("bool", "bit"):
        raise address_problem(
            text, "asks for a bit inside a register, which is not supported", "Read the register as uint16, or a coil"
        )
    if word.startswith(("str", "char", "text", "ascii")):
        raise address_problem(
            text, "asks for a string, which is not supported", "Readings are numbers: leave the tag out"
        )
    return cast(
        "RegisterType", _one_of(text, word, [name for name in get_args(RegisterType) if name != "bool"], "type")
    )


def _register(text: str, digits: str, table: Table) -> int:
    if "." in digits:
        raise address_problem(
            text, "asks for a bit inside a register, which is not supported", "Read the register as uint16, or a coil"
        )
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
