"""Binary COPY: one packed big-endian record a row, encoded from packed arrays without a Python loop."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql

from wellos.clock import from_micros
from wellos.readings import empty
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray
    from psycopg import Connection, Cursor

    from wellos.readings import Readings

__all__ = [
    "COLUMNS",
    "copy_columns",
    "copy_readings",
    "decode",
    "decode_columns",
    "encode",
    "encode_columns",
    "iter_readings",
    "read_readings",
    "to_postgres",
    "unpack",
]

COLUMNS = ("time", "tag_id", "value", "quality", "status")
"""The columns of `readings` that are copied, in the order of the encoded record."""

_POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01 UTC, where PostgreSQL's timestamptz counts from
_HEADER = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
_TRAILER = struct.pack("!h", -1)
_SLICE = 1 << 20  # libpq grows its output buffer to hold what it is given: a megabyte at a time keeps it small

_RECORD = np.dtype(
    [
        ("fields", ">i2"),
        ("time_size", ">i4"),
        ("time", ">i8"),
        ("tag_id_size", ">i4"),
        ("tag_id", ">i4"),
        ("value_size", ">i4"),
        ("value", ">f8"),
        ("quality_size", ">i4"),
        ("quality", ">i2"),
        ("status_size", ">i4"),
        ("status", ">u4"),
    ]
)

_PACKED = np.dtype([("time", ">i8"), ("value", ">f8"), ("quality", ">i2"), ("status", ">u4")])


def encode(readings: Readings) -> memoryview:
    """Return readings as one complete PGCOPY binary stream of `COLUMNS`.

    `status` keeps its 32 bits: the column is a signed integer, so codes from 2^31 come out negative there.
    """
    head, body = len(_HEADER), readings.size * _RECORD.itemsize
    stream = np.empty(head + body + len(_TRAILER), dtype=np.uint8)
    stream[:head] = np.frombuffer(_HEADER, np.uint8)
    stream[head + body :] = np.frombuffer(_TRAILER, np.uint8)
    rows = stream[head : head + body].view(_RECORD)
    rows["fields"] = len(COLUMNS)
    rows["time"] = readings["time"] - _POSTGRES_EPOCH_US
    for name in COLUMNS:
        rows[name + "_size"] = _RECORD[name].itemsize
        if name != "time":
            rows[name] = readings[name]
    return stream.data


def to_postgres(micros: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return source times as PostgreSQL's own count, for a timestamptz column of `encode_columns`."""
    return micros - _POSTGRES_EPOCH_US


def encode_columns(columns: Mapping[str, NDArray[Any]]) -> memoryview:
    """Return columns of one length as one complete PGCOPY binary stream.

    An array's element is what the server takes for its type: int2, int4, int8, float8, or the bytes (`S`, `V`) of a
    text or uuid column, all of one length. An array of one element is repeated.
    """
    names = list(columns)
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for name in names:
        fields += [(f"{name} size", ">i4"), (name, columns[name].dtype.newbyteorder(">"))]
    record = np.dtype(fields)
    rows = np.empty(max(len(column) for column in columns.values()), record)
    rows["fields"] = len(names)
    for name in names:
        rows[f"{name} size"] = record[name].itemsize
        rows[name] = columns[name]
    return memoryview(_HEADER + rows.tobytes() + _TRAILER)


def decode(stream: bytes) -> Readings:
    """Return the readings of a PGCOPY binary stream of `COLUMNS`."""
    rows = np.frombuffer(stream, _RECORD, (len(stream) - len(_HEADER)) // _RECORD.itemsize, len(_HEADER))
    readings = empty(len(rows))
    readings["time"] = rows["time"] + _POSTGRES_EPOCH_US
    for name in COLUMNS[1:]:
        readings[name] = rows[name]
    return readings


def decode_columns(stream: bytes, columns: Mapping[str, str]) -> NDArray[np.void]:
    """Return the rows of a PGCOPY binary stream without nulls; `columns` gives each its type: i2, i4, i8 or f8.

    Times are microseconds since 1970-01-01 UTC in a column of the name `time`. The numbers are big-endian.
    """
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in columns.items():
        fields += [(f"{name} size", ">i4"), (name, f">{kind}")]
    record = np.dtype(fields)
    found = np.frombuffer(stream, record, (len(stream) - len(_HEADER)) // record.itemsize, len(_HEADER)).copy()
    if "time" in columns:
        found["time"] += _POSTGRES_EPOCH_US
    rows: NDArray[np.void] = found
    return rows


def unpack(packed: bytes, tag_id: int) -> Readings:
    """Return the readings of one tag, packed by the server as `export_packed.sql` does, in the same order."""
    rows = np.frombuffer(packed, _PACKED)
    readings = empty(len(rows))
    readings["time"] = rows["time"] + _POSTGRES_EPOCH_US
    readings["tag_id"] = tag_id
    for name in COLUMNS[2:]:
        readings[name] = rows[name]
    return readings


def copy_readings(cursor: Cursor[Any], readings: Readings, table: str = "readings") -> None:
    """Copy readings into `table` (`readings`, or a staging table with the same columns) in the open transaction."""
    _copy(cursor, table, COLUMNS, encode(readings))


def copy_columns(cursor: Cursor[Any], table: str, columns: Mapping[str, NDArray[Any]]) -> None:
    """Copy columns, as `encode_columns` takes them, into `table` in the open transaction."""
    _copy(cursor, table, tuple(columns), encode_columns(columns))


def read_readings(connection: Connection[Any], tag_ids: Sequence[int], since_us: int, until_us: int) -> Readings:
    """Return the stored readings of these tags with since <= time < until, by binary COPY, in no order."""
    return np.concatenate([empty(), *iter_readings(connection, tag_ids, since_us, until_us)])


def iter_readings(
    connection: Connection[Any], tag_ids: Sequence[int], since_us: int, until_us: int, rows: int = 100_000
) -> Iterator[Readings]:
    """Yield the same in pieces of about `rows` readings: memory stays bounded whatever the span holds."""
    span = {"tags": list(tag_ids), "since": from_micros(since_us), "until": from_micros(until_us)}
    size = _RECORD.itemsize
    with connection.cursor() as cursor, cursor.copy(query("readings_copy_out"), span) as copy:
        held = bytearray()
        head = len(_HEADER)
        for block in copy:
            held += block
            whole = (len(held) - head) // size
            if whole >= rows:
                yield decode(bytes(held[: head + whole * size]))
                del held[head : head + whole * size]
        yield decode(bytes(held))


def _copy(cursor: Cursor[Any], table: str, columns: Sequence[str], stream: memoryview) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(sql.Identifier(table), names)
    with cursor.copy(statement) as copy:
        for piece in _slices(stream):
            copy.write(piece)


def _slices(stream: memoryview) -> Iterator[memoryview]:
    return (stream[at : at + _SLICE] for at in range(0, len(stream), _SLICE))
