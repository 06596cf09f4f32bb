"""Readings as BigQuery takes them (a Parquet file) and gives them (pages of text cells), a bounded piece at a time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from wellos.readings import empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import BinaryIO

    from wellos.readings import Readings

__all__ = ["COLUMNS", "file_sha256", "unpack_pages", "write_empty_file", "write_file"]

COLUMNS = ("time", "tag_id", "value", "quality", "status")

_ROW_GROUP = 1 << 20
"""Rows; some 40 MiB: BigQuery reads row groups of 16 MiB and more at its best."""

_SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("tag_id", pa.int64(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("quality", pa.int64()),
        pa.field("status", pa.int64()),
    ]
)
_ROWS = pl.Struct({"f": pl.List(pl.Struct({"v": pl.String}))})


def write_file(file: BinaryIO, pieces: Iterable[Readings]) -> int:
    """Write readings as Parquet, holding one row group in memory; return how many.

    Encodings and pages are the oldest ones: which others BigQuery reads is not documented.
    """
    rows = 0
    with _writer(file, _SCHEMA) as writer:
        for group in _groups(pieces):
            writer.write_table(_table(group), row_group_size=_ROW_GROUP)
            rows += group.size
    return rows


def write_empty_file(file: BinaryIO, micros: int) -> None:
    """Write the one row that says that a day is empty: its time is the day's start."""
    times = pa.array([micros], pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    schema = pa.schema([pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False)])
    with _writer(file, schema) as writer:
        writer.write_table(pa.Table.from_arrays([times], schema=schema))


def _writer(file: BinaryIO, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=["tag_id", "quality", "status"],
        data_page_version="1.0",
        version="2.6",
    )


def _groups(pieces: Iterable[Readings]) -> Iterator[Readings]:
    held: list[Readings] = []
    rows = 0
    for piece in pieces:
        held.append(piece)
        rows += piece.size
        while rows >= _ROW_GROUP:
            joined = np.concatenate(held)
            yield joined[:_ROW_GROUP]
            held, rows = [joined[_ROW_GROUP:]], rows - _ROW_GROUP
    if rows:
        yield np.concatenate(held)


def _table(readings: Readings) -> pa.Table:
    return pa.Table.from_arrays(
        [
            pa.array(np.ascontiguousarray(readings["time"])).cast(pa.timestamp("us", tz="UTC")),
            pa.array(readings["tag_id"].astype(np.int64)),
            pa.array(np.ascontiguousarray(readings["value"])),
            pa.array(readings["quality"].astype(np.int64)),
            pa.array(readings["status"].astype(np.int32).astype(np.int64)),
        ],
        schema=_SCHEMA,
    )


def file_sha256(path: str) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:  # noqa: PTH123 - a path as the system has it
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack_pages(pages: Iterable[Any]) -> Iterator[Readings]:
    """Yield the readings of each page of the client's: cells of `COLUMNS`, time in microseconds."""
    for page in pages:
        # The raw page: the client's own rows are one Python object a cell.
        rows = page.raw_page.get("rows", [])
        if not rows:
            continue
        cells = pl.DataFrame({"row": pl.Series(rows, dtype=_ROWS)}).select(
            pl.col("row").struct.field("f").list.get(index).struct.field("v").alias(name)
            for index, name in enumerate(COLUMNS)
        )
        readings = empty(cells.height)
        for name in COLUMNS:
            kind = pl.Float64 if name == "value" else pl.Int64
            readings[name] = cells[name].cast(kind).to_numpy()
        yield readings
