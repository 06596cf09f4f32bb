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
    with pa_parquet.ParquetFile(path) as file:  # type: ignore[no-untyped-call]
        for batch in file.iter_batches(batch_size=_ROWS, use_threads=False):
            yield Piece(_numbered(batch, first))
            first += batch.num_rows


def _csv(path: Path, mapping: Mapping) -> Iterator[Piece]:
    refused: list[Any] = []
    first = 1
    with _open_csv(path, mapping, refused) as reader:
        for batch in reader:
            # The reader parses ahead: lines it refused beyond this batch belong to a later one.
            taken = [item for item in refused if item.number is None or item.number - 2 < first + batch.num_rows]
            del refused[: len(taken)]
            yield Piece(_numbered(batch, first), [_broken(item, first) for item in taken])
            first += batch.num_rows
    if refused:
        yield Piece(pl.DataFrame(schema={ROW: pl.Int64}), [_broken(item, first) for item in refused])


def _broken(item: Any, row: int) -> Broken:  # noqa: ANN401 - pyarrow has no types
    number = row if item.number is None else item.number - 1
    detail = f"{item.actual_columns} fields where the header has {item.expected_columns}"
    return Broken(number, item.text, detail)


def _numbered(batch: Any, first: int) -> pl.DataFrame:  # noqa: ANN401 - pyarrow has no types
    frame = pl.from_arrow(batch)
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a record batch is a frame
    return frame.with_row_index(ROW, offset=first)


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
