"""One Parquet file of a tenant's day: written as a stream, and read only where the asked readings can be.

Sorted by tag and time, so that a row group holds a few tags and its statistics tell which. The footer says whose day it
is; no byte is decoded before its CRC was checked (`parquet_seal`).
"""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from wellos.readings import empty
from wellos.storage.cold import SCHEMA_VERSION, ColdError, ColdRetryError, DamagedCopyError
from wellos.storage.cold.parquet_seal import Damage, Sealed, seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray

    from wellos.readings import Readings

__all__ = ["ROW_GROUP", "DayFile", "day_us", "reading_file", "write_file"]

ROW_GROUP = 1 << 16
"""Readings in a row group: what is decoded for one tag, and held in memory while writing."""

_DAY_US = 86_400_000_000
_NO_FILE = frozenset({errno.EISDIR, errno.ELOOP, errno.ENOTDIR})
"""What the system says of a copy that is something else than a file, at this and any later time."""
_COLUMNS = ("time", "tag_id", "value", "quality", "status")
_SCHEMA = pa.schema(
    [
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("tag_id", pa.int32(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
        pa.field("quality", pa.int16(), nullable=False),
        pa.field("status", pa.int32(), nullable=False),
    ]
)
_REMEDY = (
    "While its readings are in the database, `wellos archive --verify` puts the file aside and archives the day anew; "
    "once they were dropped, put the file back from a backup of the archive"
)


def day_us(day: str) -> int:
    """Return the microseconds since 1970 at which a day `YYYY-MM-DD` begins."""
    return int(np.datetime64(day, "us").astype(np.int64))


def write_file(path: Path, pieces: Iterable[Readings], about: Mapping[str, str]) -> int:
    """Write readings to a new file and see it to the disk; return how many. One row group and a piece are in memory.

    `about` goes into the footer; of it, `day` is the UTC day that every reading must be of. ColdError when they are of
    another day, or not in strict order of tag and time over all pieces.
    """
    since = day_us(about["day"])
    rows = 0
    with pq.ParquetWriter(
        path,
        _SCHEMA,
        compression="zstd",
        use_dictionary=["tag_id", "value", "quality", "status"],
        column_encoding={"time": "DELTA_BINARY_PACKED"},
        write_page_checksum=True,
        write_statistics=["time", "tag_id"],
        store_schema=False,
        sorting_columns=[pq.SortingColumn(1), pq.SortingColumn(0)],
    ) as writer:
        for group in _groups(_checked(pieces, since)):
            writer.write_table(_table(group), row_group_size=ROW_GROUP)
            rows += group.size
        said = {**about, "schema": str(SCHEMA_VERSION), "rows": str(rows)}
        writer.add_key_value_metadata({f"wellos.{name}": text for name, text in said.items()})
    seal(path)
    return rows


def _checked(pieces: Iterable[Readings], since: int) -> Iterator[Readings]:
    """Pass pieces on while they are of the day and in order: whoever reads the file relies on both."""
    last = empty()
    for piece in pieces:
        if not piece.size:
            continue
        joined = np.concatenate([last, piece])
        time, tag = joined["time"], joined["tag_id"]
        if not ((tag[1:] > tag[:-1]) | ((tag[1:] == tag[:-1]) & (time[1:] > time[:-1]))).all():
            raise ColdError("readings to archive are not in order of tag and time, each once. Nothing was replaced")
        if piece["time"].min() < since or piece["time"].max() >= since + _DAY_US:
            raise ColdError("readings to archive are not all of the day. Nothing was replaced")
        yield piece
        last = piece[-1:]


def _groups(pieces: Iterable[Readings]) -> Iterator[Readings]:
    held: list[Readings] = []
    rows = 0
    for piece in pieces:
        held.append(piece)
        rows += piece.size
        if rows < ROW_GROUP:
            continue
        joined = np.concatenate(held)
        whole = rows - rows % ROW_GROUP
        for start in range(0, whole, ROW_GROUP):
            yield joined[start : start + ROW_GROUP]
        held, rows = [joined[whole:]], rows - whole
    if rows:
        yield np.concatenate(held)


def _table(readings: Readings) -> pa.Table:
    columns = {name: np.ascontiguousarray(readings[name]) for name in _COLUMNS}
    columns["time"] = columns["time"].view("<M8[us]")
    columns["quality"] = columns["quality"].astype(np.int16)
    columns["status"] = columns["status"].view("<i4")
    return pa.Table.from_arrays(
        [pa.array(columns[field.name], field.type) for field in _SCHEMA],
        schema=_SCHEMA,
    )


@contextmanager
def reading_file(path: Path, about: Mapping[str, str]) -> Iterator[DayFile]:
    """Open a file while this lasts, and see that it is the one that `about` describes.

    DamagedCopyError when it is not there, is another's, or turns out damaged while it is read; ColdError when it may
    not be read, or a newer version wrote it; ColdRetryError when the disk does not answer, which is no damage.
    """
    try:
        with path.open("rb") as file:
            yield DayFile(file, about)
    except FileNotFoundError:
        raise DamagedCopyError(f"{path}: the archived day is not there. {_REMEDY}") from None
    except PermissionError as error:
        raise ColdError(f"{path}: {error.strerror}. Let this account read it") from None
    except Damage as damage:
        raise DamagedCopyError(f"{path} is damaged: {damage}. {_REMEDY}") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        # Arrow's own complaints of what it reads are OSError as well, without a number.
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _NO_FILE:
            remedy = "See to the disk, and try again; when it stays, put the file back from a backup of the archive"
            raise ColdRetryError(f"{path} cannot be read now: {error.strerror}. {remedy}") from error
        reason = " ".join(str(error).split())
        raise DamagedCopyError(f"{path} is damaged: {reason}. {_REMEDY}") from error


class DayFile:
    """An open file, its footer checked against its path."""

    def __init__(self, file: BinaryIO, about: Mapping[str, str]) -> None:
        self._seal = Sealed(file)
        self._footer = self._seal.metadata
        self._file = pq.ParquetFile(file, metadata=self._footer, pre_buffer=False)
        said = {name.decode(): text.decode() for name, text in (self._footer.metadata or {}).items()}
        version = said.get("wellos.schema", "")
        if version.isdecimal() and int(version) > SCHEMA_VERSION:
            raise ColdError(f"a copy has schema {version}, and this version reads {SCHEMA_VERSION}. Upgrade wellos")
        for name, text in about.items():
            if said.get(f"wellos.{name}") != text:
                raise Damage(f"its footer says {name} {said.get(f'wellos.{name}')}, not {text}")
        if said.get("wellos.rows") != str(self.rows) or not self._file.schema_arrow.equals(_SCHEMA):
            raise Damage("its footer contradicts itself")

    @property
    def rows(self) -> int:
        """Readings, by the footer."""
        return int(self._footer.num_rows)

    def pieces(self, *, prove: bool = False) -> Iterator[Readings]:
        """Yield all readings, a row group at a time; with `prove`, see that the statistics are right as well."""
        rows = 0
        for group in range(self._footer.num_row_groups):
            self._seal.check(group)
            readings = self._decoded(group)
            rows += readings.size
            if prove and self._span(group) != _span_of(readings):
                raise Damage(f"the statistics of row group {group} are not of its readings")
            yield readings
        if rows != self.rows:
            raise Damage(f"it holds {rows} readings, and its footer says {self.rows}")

    def find(self, tags: NDArray[np.int64], since_us: int, until_us: int) -> tuple[list[Readings], int]:
        """Return readings of these tags, sorted, with since <= time < until, and the bytes that were read for them."""
        found: list[Readings] = []
        scanned = 0
        for group in range(self._footer.num_row_groups):
            tag_first, tag_last, first, last = self._span(group)
            wanted = tags[np.searchsorted(tags, tag_first) : np.searchsorted(tags, tag_last, "right")]
            if not wanted.size or first >= until_us or last < since_us:
                continue
            scanned += self._seal.check(group)
            readings = self._decoded(group)
            found += [part for part in _cut(readings, wanted, since_us, until_us) if part.size]
        return found, scanned + int(self._footer.serialized_size)

    def _decoded(self, group: int) -> Readings:
        table = self._file.read_row_group(group, use_threads=False)
        readings = empty(table.num_rows)
        for name in _COLUMNS:
            column = table.column(name)
            if column.null_count:
                raise Damage(f"row group {group} has gaps in {name}")
            values = column.to_numpy()
            readings[name] = values.view(np.int64) if name == "time" else values
        return readings

    def _span(self, group: int) -> tuple[int, int, int, int]:
        """Return first and last tag, first and last time of a row group by its statistics."""
        described = self._footer.row_group(group)
        time, tag = described.column(0).statistics, described.column(1).statistics
        if time is None or tag is None or not (time.has_min_max and tag.has_min_max):
            raise Damage(f"row group {group} has no statistics")
        return int(tag.min_raw), int(tag.max_raw), int(time.min_raw), int(time.max_raw)


def _span_of(readings: Readings) -> tuple[int, int, int, int]:
    tag, time = readings["tag_id"], readings["time"]
    return int(tag.min()), int(tag.max()), int(time.min()), int(time.max())


def _cut(readings: Readings, tags: Sequence[Any] | NDArray[np.int64], since_us: int, until_us: int) -> list[Readings]:
    """Return what sorted readings hold of each tag and the span."""
    of_tags = readings["tag_id"]
    starts, ends = np.searchsorted(of_tags, tags), np.searchsorted(of_tags, tags, "right")
    parts = []
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        time = readings["time"][start:end]
        low, high = np.searchsorted(time, [since_us, until_us])
        parts.append(readings[start + int(low) : start + int(high)].copy())
    return parts
