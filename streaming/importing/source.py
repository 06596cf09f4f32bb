"""Reads a CSV or Parquet file in pieces of bounded size that are the same in every run, every row with its number."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from streaming.importing.mapping import Mapping

__all__ = ["ROW", "Broken", "Piece", "columns_of", "digest", "is_parquet", "pieces"]

ROW = "row in file"
"""Column with the number of each row, from 1, without the header."""

_BLOCK = 1 << 20
_ROWS = 40_000


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that has not the header's number of fields."""

    row: int
    text: str
    detail: str


@dataclass(slots=True)
class Piece:
    """Some rows, and the lines among them that are none."""

    frame: pl.DataFrame
    """CSV: every column is text. Parquet: as the file says."""
    broken: list[Broken] = field(default_factory=list)


def is_parquet(path: Path) -> bool:
    """Whether the file is Parquet, by its first bytes."""
    with _readable(path), path.open("rb") as file:
        return file.read(4) == b"PAR1"


def digest(path: Path) -> str:
    """SHA-256 of the file, in hexadecimal."""
    with _readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def columns_of(path: Path, mapping: Mapping) -> list[str]:
    """Return the headers of the file; ConfigurationError where there are none, or one twice."""
    if is_parquet(path):
        with _readable(path):
            names = pa_parquet.read_schema(path).names
    else:
        with _readable(path), _open_csv(path, mapping, []) as reader:
            names = reader.schema.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problem = Problem("stands twice in the header", "Rename one.", file=str(path), field=twice[0])
        raise ConfigurationError([problem])
    return list(names)


def pieces(path: Path, mapping: Mapping) -> Iterator[Piece]:
    """Yield the rows of a file in order; ConfigurationError when it is not what it seems."""
    with _readable(path):
        yield from _parquet(path) if is_parquet(path) else _csv(path, mapping)


def _parquet(path: Path) -> Iterator[Piece]:
    first = 1
    with pa_parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            yield Piece(_numbered(batch, first))
            first += batch.num_rows


def _csv(path: Path, mapping: Mapping) -> Iterator[Piece]:
    refused: list[Any] = []
    first = 1
    with _open_csv(path, mapping, refused) as reader:
        for batch in reader:
            broken = _taken(refused, first, batch.num_rows)
            count = batch.num_rows + len(broken)
            without = {line.row for line in broken}
            rows = [row for row in range(first, first + count) if row not in without] if broken else first
            yield Piece(_numbered(batch, rows), broken)
            first += count
    if refused:
        yield Piece(pl.DataFrame(schema={ROW: pl.Int64}), _taken(refused, first, len(refused)))


def _taken(refused: list[Any], first: int, rows: int) -> list[Broken]:
    """Take the refused lines among the next rows: the reader parses ahead, and later ones belong to a later piece."""
    end, taken = first + rows, 0
    while taken < len(refused) and refused[taken].number - 1 < end:
        end, taken = end + 1, taken + 1
    broken = [
        Broken(line.number - 1, line.text, f"{line.actual_columns} fields where the header has {line.expected_columns}")
        for line in refused[:taken]
    ]
    del refused[:taken]
    return broken


def _numbered(batch: Any, rows: int | list[int]) -> pl.DataFrame:  # noqa: ANN401 - pyarrow has no types
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a record batch is a frame
    if isinstance(rows, list):
        return frame.with_columns(pl.Series(ROW, rows, pl.Int64))
    return frame.with_row_index(ROW, offset=rows)


@contextmanager
def _open_csv(path: Path, mapping: Mapping, refused: list[Any]) -> Iterator[Any]:
    def refuse(row: Any) -> str:  # noqa: ANN401 - pyarrow has no types
        refused.append(row)
        return "skip"

    def options(names: list[str]) -> Any:  # noqa: ANN401 - same
        return pa_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, quoted_strings_can_be_null=False
        )

    # One thread: pieces and their rows are the same in every run, which the ledger's sequences rest on.
    reading = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, encoding=mapping.encoding)
    parsing = pa_csv.ParseOptions(
        delimiter=mapping.delimiter, invalid_row_handler=refuse, newlines_in_values=False, ignore_empty_lines=True
    )
    with pa.input_stream(path, compression="detect") as stream:
        names = pa_csv.open_csv(stream, reading, parsing, options([])).schema.names
    refused.clear()
    with (
        pa.input_stream(path, compression="detect") as stream,
        pa_csv.open_csv(stream, reading, parsing, options(names)) as reader,
    ):
        yield reader


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowInvalid as error:
        reason = " ".join(str(error).split())[:200]
        remedy = "Check the delimiter and encoding of the mapping, or write the file again."
        raise ConfigurationError([Problem(f"cannot be read: {reason}", remedy, file=str(path))]) from None
    except (OSError, LookupError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            [Problem(f"cannot be read: {reason}", "Name a CSV or Parquet file.", file=str(path))]
        ) from None
