"""Modbus register blocks: which reads fetch which tags, and their values from the registers. Pure.

A byte order is a permutation of bytes, so all values of one type in a block are one gather and one view.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import ArrayLike, NDArray

    from wellos.protocols.modbus import ModbusAddress, Table

__all__ = ["BITS_A_REGISTER", "Block", "BlockError", "plan"]

BITS_A_REGISTER = 16
"""Bits are read from their tables in requests as large, in bytes, as those for registers."""

_BIT_TABLES = frozenset({"coil", "discrete"})
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


class BlockError(ValueError):
    """A reply that does not hold what was asked for."""


@dataclass(frozen=True)
class Block:
    """One read: `count` registers (or bits) from `start`, and the tags in it by position in the connection."""

    unit: int
    table: Table
    start: int
    count: int
    positions: tuple[int, ...]
    addresses: tuple[ModbusAddress, ...]

    @property
    def bits(self) -> bool:
        """Whether the table holds bits."""
        return self.table in _BIT_TABLES

    @cached_property
    def _gathers(self) -> list[tuple[NDArray[np.intp], str, NDArray[np.intp]]]:
        """For every type: rows of `positions`, dtype, and the bytes of each value, most significant first."""
        groups: dict[str, list[int]] = {}
        for row, address in enumerate(self.addresses):
            groups.setdefault(address.type, []).append(row)
        return [
            (
                np.array(rows, dtype=np.intp),
                _TYPES[kind],
                np.array([self._bytes(self.addresses[row]) for row in rows], dtype=np.intp),
            )
            for kind, rows in groups.items()
        ]

    def _bytes(self, address: ModbusAddress) -> list[int]:
        words = range(address.registers)
        if address.order in ("CDAB", "DCBA"):
            words = words[::-1]
        within = (1, 0) if address.order in ("BADC", "DCBA") else (0, 1)
        first = address.register - self.start
        return [2 * (first + word) + byte for word in words for byte in within]

    def decode(self, raw: ArrayLike) -> NDArray[np.float64]:
        """Return the raw value of every tag of `positions` from the block's registers (0..65535) or bits.

        64-bit integers beyond 2^53 are rounded to the nearest double. BlockError if the reply is too short.
        """
        column = np.asarray(raw)
        if column.ndim != 1 or len(column) < self.count:
            raise BlockError(f"{column.size} values came for {self.count}")
        if self.bits:
            offsets = np.array([address.register - self.start for address in self.addresses], dtype=np.intp)
            return column[offsets].astype(np.float64)
        wire = column[: self.count].astype(">u2").view(np.uint8)
        values = np.empty(len(self.positions))
        for rows, kind, index in self._gathers:
            values[rows] = np.ascontiguousarray(wire[index]).view(kind)[:, 0]
        return values

    def split(self) -> tuple[Block, ...]:
        """Return two blocks with half of the tags each, reading nothing between them; none for a single tag."""
        if len(self.positions) < 2:  # noqa: PLR2004 - halves need two
            return ()
        middle = len(self.positions) // 2
        return (
            _block(self.positions[:middle], self.addresses[:middle]),
            _block(self.positions[middle:], self.addresses[middle:]),
        )


def _block(positions: Sequence[int], addresses: Sequence[ModbusAddress]) -> Block:
    start = min(address.register for address in addresses)
    end = max(address.register + address.registers for address in addresses)
    return Block(addresses[0].unit, addresses[0].table, start, end - start, tuple(positions), tuple(addresses))


def plan(tags: Iterable[tuple[int, ModbusAddress]], max_registers: int, max_gap: int) -> list[Block]:
    """Group tags, given as (position, address), into as few reads as may be.

    A block holds one unit and table, at most `max_registers` registers, and runs over at most `max_gap` unused ones
    between two tags. Both count for bits sixteenfold.
    """
    ordered = sorted(tags, key=lambda tag: (tag[1].unit, tag[1].table, tag[1].register, tag[1].registers))
    blocks: list[Block] = []
    chunk: list[tuple[int, ModbusAddress]] = []
    start = end = 0

    def close() -> None:
        if chunk:
            blocks.append(_block([position for position, _ in chunk], [address for _, address in chunk]))
            chunk.clear()

    for position, address in ordered:
        scale = BITS_A_REGISTER if address.table in _BIT_TABLES else 1
        last = address.register + address.registers
        joins = (
            chunk
            and (chunk[0][1].unit, chunk[0][1].table) == (address.unit, address.table)
            and address.register <= end + max_gap * scale
            and max(end, last) - start <= max_registers * scale
        )
        if not joins:
            close()
            start, end = address.register, last
        chunk.append((position, address))
        end = max(end, last)
    close()
    return blocks
