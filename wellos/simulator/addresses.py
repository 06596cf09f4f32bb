"""Where each simulated tag is found on the wire: used by the servers that put it there and by the fleet file.

* OPC UA: node `nsu=urn:wellos:field;s=WELL.TAG`.
* Modbus: one unit a well; totals in holding registers, all else in input registers; byte order by unit.
* MQTT: topic `wellos/TENANT/WELL`, one JSON object a well and time: `time` (RFC 3339), `values` (tag -> number or null)
  and, only when a value is not good, `quality` (tag -> UNCERTAIN or BAD). A tag's address points at `/values/TAG`; the
  quality pointer `/quality` leads to an object, whose member of the same name is the tag's.
* Sparkplug B: group is the tenant, one edge node a connection, one device a well, one metric a tag.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from wellos.protocols.modbus import ModbusAddress

if TYPE_CHECKING:
    from wellos.protocols.modbus import Order, RegisterType, Table
    from wellos.simulator.field import Field
    from wellos.simulator.model import SimTag, SimWell

__all__ = ["NAMESPACE", "Register", "mqtt_topic", "node_id", "register_map", "sparkplug_node"]

NAMESPACE = "urn:wellos:field"
"""Namespace URI of the OPC UA nodes."""

_ORDERS: tuple[Order, ...] = ("ABCD", "CDAB", "BADC", "DCBA")
_FIRST_INPUT, _FIRST_HOLDING = 100, 400
_FREEZING_F = -40.0  # where transmitters that send whole tenths of a degree let their count begin


@dataclass(frozen=True, slots=True)
class Register:
    """Where a Modbus tag lies and how its value is written: `value = raw * scale + offset`."""

    address: ModbusAddress
    scale: float = 1.0
    offset: float = 0.0
    no_value: int | None = None
    """Raw value that says "none"; floating-point registers say it with NaN."""

    @property
    def sentinel(self) -> float | None:
        """The same in engineering units."""
        return None if self.no_value is None else self.no_value * self.scale + self.offset


def node_id(well: SimWell, tag: SimTag) -> str:
    """Return the text identifier of a tag's OPC UA node in `NAMESPACE`."""
    return f"{well.name}.{tag.name}"


def mqtt_topic(well: SimWell) -> str:
    """Return the topic of a well's JSON messages."""
    return f"wellos/{well.tenant}/{well.name}"


def sparkplug_node(well: SimWell) -> str:
    """Return the edge node of a well: one a connection. The group is the tenant, the device the well's name."""
    return f"edge-{well.connection.rpartition('-')[2]}"


def register_map(field: Field) -> dict[int, tuple[Register, ...]]:
    """Return the registers of every Modbus well, by its number, in the order of its tags."""
    modbus = [number for number, well in enumerate(field.wells) if well.protocol == "modbus"]
    return {number: _registers(unit, field.wells[number]) for unit, number in enumerate(modbus, start=1)}


def _registers(unit: int, well: SimWell) -> tuple[Register, ...]:
    free: dict[Table, int] = {"input": _FIRST_INPUT, "holding": _FIRST_HOLDING}
    laid = []
    for number, tag in enumerate(well.tags):
        table: Table = "holding" if tag.quantity == "total" else "input"
        kind = _type(unit, tag)
        # Real maps have holes: two unused registers after every third tag.
        at = free[table] + (2 if number % 3 == 2 else 0)
        address = ModbusAddress(unit, table, at, kind, _ORDERS[(unit - 1) % len(_ORDERS)])
        free[table] = at + address.registers
        laid.append(_scaled(address, tag))
    return tuple(laid)


def _type(unit: int, tag: SimTag) -> RegisterType:
    if tag.quantity == "total":
        return "uint64" if unit % 3 == 0 else "uint32"
    if tag.quantity == "rate":
        return "float32"
    if tag.quantity == "current":
        return "float64" if unit % 2 else "int16"
    if tag.quantity == "vibration":
        return "int32"
    return "uint16" if tag.high / tag.resolution < 0x7FFF else "uint32"


def _scaled(address: ModbusAddress, tag: SimTag) -> Register:
    if address.type.startswith("float"):
        return Register(address)
    bits = int(address.type.lstrip("uint"))
    no_value = 2**bits - 1 if address.type.startswith("u") else -(2 ** (bits - 1))
    offset = _FREEZING_F if tag.quantity == "temperature" else 0.0
    return Register(address, tag.resolution, offset, no_value)
