"""The message that ingest publishes of every batch: a header that says how long it and its rows are, then the rows.

All numbers are little-endian.

| field | type | meaning |
|---|---|---|
| magic | 2 bytes | `WR` |
| version | u8 | 2 |
| header | u8 | bytes of this header, 28 in version 2 |
| row | u16 | bytes of one row, 26 in version 2 |
| spare | u16 | 0 |
| rows | u32 | how many rows follow |
| publisher | u64 | chosen at random by each ingest process when it starts |
| sequence | u64 | 1, 2, 3, ... for each publisher on each channel |

A row is a `wellos.readings.READING`: time i64 (microseconds since 1970-01-01 UTC), value f8, tag id i32, status u32,
quality u8 (0 BAD, 1 UNCERTAIN, 2 GOOD), flags u8. A later version may be longer in its header and its rows: what is
known here stays where it is, and `header` and `row` say where the next part begins. Anything else gets another magic.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wellos.readings import READING, empty

if TYPE_CHECKING:
    from wellos.readings import Readings

__all__ = ["Message", "decode_message", "encode_message"]

_MAGIC, _VERSION = b"WR", 2
_HEADER = struct.Struct("<2sBBHHIQQ")


@dataclass(frozen=True, slots=True)
class Message:
    """One batch as it was published."""

    publisher: int
    sequence: int
    """One more than that of the message before, of this publisher on this channel: otherwise messages were missed."""
    readings: Readings
    """In the order in which they were received from each connection."""


def encode_message(publisher: int, sequence: int, readings: Readings) -> bytes:
    """Return the message of one batch."""
    header = _HEADER.pack(_MAGIC, _VERSION, _HEADER.size, READING.itemsize, 0, len(readings), publisher, sequence)
    return header + readings.tobytes()


def decode_message(raw: bytes) -> Message:
    """Return the batch in a message of this version or a later one; ValueError says what is wrong with it."""
    if len(raw) < _HEADER.size:
        raise ValueError(f"{len(raw)} bytes are no batch of readings")
    magic, version, header, row, _, rows, publisher, sequence = _HEADER.unpack_from(raw)
    if magic != _MAGIC or version < _VERSION or header < _HEADER.size or row < READING.itemsize:
        raise ValueError(f"not a batch of readings of version {_VERSION} or later")
    if len(raw) != header + rows * row:
        raise ValueError(f"{rows} readings of {row} bytes are announced, {len(raw) - header} bytes came")
    readings = np.frombuffer(raw, READING, rows, header) if row == READING.itemsize else _known(raw, header, row, rows)
    return Message(publisher, sequence, readings)


def _known(raw: bytes, header: int, row: int, rows: int) -> Readings:
    """Take the part of longer rows that is known here."""
    known = np.frombuffer(raw, np.uint8, rows * row, header).reshape(rows, row)[:, : READING.itemsize]
    return np.frombuffer(known.tobytes(), READING) if rows else empty()
