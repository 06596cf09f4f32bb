"""Modbus register blocks: which reads fetch which tags, and their values from the bytes that came. Pure.

The answers of one poll lie side by side in one image. A byte order is a permutation of bytes, so all values of one type
in a poll are one gather and one view, however many reads they took.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streaming.adapters.modbus_frame import FUNCTIONS, Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from wellos.protocols.modbus import ModbusAddress, Table

__all__ = ["BITS_A_REGISTER", "Block", "Layout", "Text", "number_in", "plan"]

BITS_A_REGISTER = 16
"""Bits are read from their tables in requests as large, in bytes, as those for registers."""

_BIT_TABLES = frozenset({"coil", "discrete"})
_TYPES = {
    "int8": "i1",
    "uint8": "u1",
    "int16": ">i2",
    "uint16": ">u2",
    "int32": ">i4",
    "uint32": ">u4",
    "int64": ">i8",
    "uint64": ">u8",
    "float32": ">f4",
    "float64": ">f8",
}
_NUMBER = re.compile(rb"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_PADDING = b"\0 \t\r\n"


@dataclass(frozen=True, slots=True)
class Block:
    """One read: `count` registers (or bits) from `start`, and the tags in it by position in the group."""

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

    @property
    def request(self) -> Request:
        """The read on the wire."""
        return Request(self.unit, FUNCTIONS[self.table], self.start, self.count)

    def split(self) -> tuple[Block, ...]:
        """Return two blocks with half of the tags each, reading nothing between them; none for a single tag."""
        if len(self.positions) < 2:  # noqa: PLR2004 - halves need two
            return ()
        middle = len(self.positions) // 2
        return (
            _block(self.positions[:middle], self.addresses[:middle]),
            _block(self.positions[middle:], self.addresses[middle:]),
        )


@dataclass(frozen=True, slots=True)
class Text:
    """A string as it lies in the device: its row in the layout, and its bytes in reading order."""

    row: int
    content: bytes


def number_in(content: bytes) -> float:
    """Return the number that a string is, padding of spaces and NUL aside; NaN for any other text."""
    text = content.strip(_PADDING)
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else math.nan


class Layout:
    """Where everything lies in the image of one poll: the answers of `blocks` one after the other.

    A row is a tag; rows are in the order of the blocks and of the tags in them.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        """Lay the blocks out."""
        self.blocks = tuple(blocks)
        sizes = [block.request.size for block in blocks]
        self.offsets = [0, *np.cumsum(sizes[:-1], dtype=np.intp).tolist()][: len(sizes)]
        self.size = sum(sizes)
        self.tags_a_block = np.array([len(block.positions) for block in blocks], dtype=np.intp)
        self.positions = np.array([position for block in blocks for position in block.positions], dtype=np.intp)
        gathers: dict[str, tuple[list[int], list[list[int]]]] = {}
        bits: list[tuple[int, int, int]] = []
        self._texts: list[tuple[int, list[int]]] = []
        row = 0
        for block, offset in zip(blocks, self.offsets, strict=True):
            for address in block.addresses:
                place = address.register - block.start
                if block.bits:
                    bits.append((row, offset + place // 8, place % 8))
                elif address.bit is not None:
                    bits.append((row, offset + 2 * place + (address.bit < 8), address.bit % 8))  # noqa: PLR2004
                elif address.type == "string":
                    self._texts.append((row, _bytes(address, offset + 2 * place)[: address.length]))
                else:
                    rows, index = gathers.setdefault(address.type, ([], []))
                    rows.append(row)
                    index.append(_bytes(address, offset + 2 * place))
                row += 1
        self._gathers = [
            (np.array(rows, dtype=np.intp), _TYPES[kind], np.array(index, dtype=np.intp))
            for kind, (rows, index) in gathers.items()
        ]
        self._bits = np.array(bits, dtype=np.intp).reshape(-1, 3).T

    def decode(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float64], list[Text]]:
        """Return the raw value of every row, and the strings; a string that is no number is NaN.

        64-bit integers beyond 2^53 are rounded to the nearest double.
        """
        values = np.empty(len(self.positions))
        for rows, kind, index in self._gathers:
            values[rows] = image[index].view(kind)[:, 0]
        rows, place, shift = self._bits
        values[rows] = image[place] >> shift & 1
        texts = [Text(row, image[index].tobytes()) for row, index in self._texts]
        for text in texts:
            values[text.row] = number_in(text.content)
        return values, texts


def _bytes(address: ModbusAddress, offset: int) -> list[int]:
    """Return where the bytes of a value are, most significant (or first character) first."""
    swapped = address.order in ("BADC", "DCBA")
    if address.type in ("int8", "uint8"):
        return [offset + (not swapped)]
    words = range(address.registers)
    if address.order in ("CDAB", "DCBA"):
        words = words[::-1]
    within = (1, 0) if swapped else (0, 1)
    return [offset + 2 * word + byte for word in words for byte in within]


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
