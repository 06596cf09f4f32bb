"""A real Modbus TCP server of a field: units with register images, mixed byte orders, and the right exceptions."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

import numpy as np
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

from wellos.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from wellos.protocols.modbus import ModbusAddress
    from wellos.simulator.addresses import Register

__all__ = ["ModbusServer", "encode"]

_TYPES = {
    "int16": ">i2",
    "uint16": ">u2",
    "int32": ">i4",
    "uint32": ">u4",
    "int64": ">i8",
    "uint64": ">u8",
    "float32": ">f4",
    "float64": ">f8",
}
_READ_TABLES = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
_ALL = 1 << 16


def encode(register: Register, value: float) -> list[int]:
    """Return the registers (or the one bit) of a value, as they lie in the device.

    Without a value (NaN) floats hold NaN and integers the register's `no_value`, else the end of their range that
    devices use for it: the lowest of signed, the highest of unsigned ones. A value beyond an integer's range is its
    nearest end.
    """
    address = register.address
    if address.type == "bool":
        return [int(value > 0)]
    raw: float = (value - register.offset) / register.scale
    dtype = np.dtype(_TYPES[address.type])
    if dtype.kind != "f":
        limits = np.iinfo(dtype)
        nothing = int(limits.min if dtype.kind == "i" else limits.max)
        if np.isnan(raw):
            raw = nothing if register.no_value is None else register.no_value
        else:
            raw = int(min(max(round(raw), int(limits.min)), int(limits.max)))
    with np.errstate(over="ignore"):
        words = np.frombuffer(np.array(raw).astype(dtype).tobytes(), dtype=">u2")
    if address.order in ("BADC", "DCBA"):
        words = words.byteswap()
    if address.order in ("CDAB", "DCBA"):
        words = words[::-1]
    return cast("list[int]", words.tolist())


class _Table:
    """One table of one unit: what lies in it, from its first register to its last; holes between read 0."""

    def __init__(self) -> None:
        self.image: NDArray[np.uint16] = np.zeros(_ALL, dtype=np.uint16)
        self.taken: NDArray[np.bool_] = np.zeros(_ALL, dtype=np.bool_)
        self.first, self.end = _ALL, 0

    def define(self, address: ModbusAddress) -> None:
        end = address.register + address.registers
        if self.taken[address.register : end].any():
            raise ValueError(f"two tags share a register: {address}")
        self.taken[address.register : end] = True
        self.first, self.end = min(self.first, address.register), max(self.end, end)


class _Devices:
    """What the library asks for the registers of a request: the units behind one address."""

    def __init__(self) -> None:
        self.units: dict[int, dict[str, _Table]] = {}
        self.refusing: dict[int, ExcCodes] = {}
        self.reads = 0

    def device_ids(self) -> list[int]:
        """Return the units."""
        return list(self.units)

    async def async_getValues(  # noqa: N802 - the library's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> list[int] | list[bool] | ExcCodes:
        """Return registers, or bits, or the exception to answer with."""
        if device_id not in self.units:
            return ExcCodes.GATEWAY_NO_RESPONSE
        if device_id in self.refusing:
            return self.refusing[device_id]
        name = _READ_TABLES.get(func_code)
        if name is None:
            return ExcCodes.ILLEGAL_FUNCTION
        table = self.units[device_id].get(name)
        if table is None or address < table.first or address + count > table.end:
            return ExcCodes.ILLEGAL_ADDRESS
        self.reads += 1
        values = table.image[address : address + count]
        return cast("list[int] | list[bool]", (values if func_code > 2 else values.astype(np.bool_)).tolist())

    async def async_setValues(  # noqa: N802 - the library's name
        self,
        device_id: int,
        func_code: int,  # noqa: ARG002 - the library's signature
        address: int,  # noqa: ARG002 - same
        values: list[int] | list[bool],  # noqa: ARG002 - same
    ) -> ExcCodes:
        """Refuse: instruments are read, never written."""
        return ExcCodes.ILLEGAL_FUNCTION if device_id in self.units else ExcCodes.GATEWAY_NO_RESPONSE


class ModbusServer:
    """A Modbus TCP server on one port. It holds current values only: the protocol has no times."""

    def __init__(self, registers: Iterable[Register]) -> None:
        """Lay out the register images; ValueError if two tags share a register."""
        self._devices = _Devices()
        for register in registers:
            unit = self._devices.units.setdefault(register.address.unit, {})
            unit.setdefault(register.address.table, _Table()).define(register.address)
        self.port = 0
        self.written = 0
        self._server: ModbusTcpServer | None = None

    @property
    def reads(self) -> int:
        """Requests answered with values."""
        return self._devices.reads

    async def start(self, host: str, port: int) -> int:
        """Listen; return the port. UnreachableError if it is taken."""
        # A wrong request is answered with an exception; it is no error of the server.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._server = ModbusTcpServer(SimDevice(0, simdata=[SimData(0)]), address=(host, port))
        # The library's own store builds every register of every unit as a list; ours are arrays behind its interface.
        self._server.context = self._devices  # type: ignore[assignment]
        try:
            await self._server.serve_forever(background=True)
        except RuntimeError as error:
            raise UnreachableError("WELLOS_MODBUS_PORT", f"{host}:{port}", "the port is taken") from error
        transport = self._server.transport
        if not isinstance(transport, asyncio.Server):
            raise TypeError("the Modbus server started without a socket")
        self.port = transport.sockets[0].getsockname()[1]
        return self.port

    def write(self, register: Register, value: float) -> None:
        """Set the current value of a tag; NaN: it has none."""
        address = register.address
        words = encode(register, value)
        self._devices.units[address.unit][address.table].image[address.register : address.register + len(words)] = words
        self.written += 1

    def refuse(self, unit: int, code: ExcCodes | None) -> None:
        """Let a unit answer every request with an exception, as while it is cut off or busy; None ends it."""
        if code is None:
            self._devices.refusing.pop(unit, None)
        else:
            self._devices.refusing[unit] = code

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]
