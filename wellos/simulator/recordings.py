"""Recordings of real wells in the Petrobras 3W layout: found, described, and read with their quirks intact.

Two schemas are known: files of one well holding many recordings, told apart by an `instance` column, and the untouched
files of 3W version 2, one recording each, named `WELL_YYYYmmddHHMMSS.parquet`, whose index is the time. Rows keep their
order; nothing is sorted, filled, deduplicated or dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["COLUMNS", "Block", "Recording", "find_recordings", "read_recording", "to_utc"]

COLUMNS = {
    "P-PDG": ("Pa", "pressure"),
    "P-TPT": ("Pa", "pressure"),
    "T-TPT": ("degC", "temperature"),
    "P-MON-CKP": ("Pa", "pressure"),
    "T-JUS-CKP": ("degC", "temperature"),
    "P-JUS-CKGL": ("Pa", "pressure"),
    "T-JUS-CKGL": ("degC", "temperature"),
    "QGL": ("m3/s", "rate"),
}
"""The measured columns, their unit and kind; states, valve openings and labels are not instruments of the well."""

_INDEX_NAMES = ("timestamp", "__index_level_0__")
_NAMED = re.compile(r"(?P<well>.+)_\d{14}")
_BACK_US = -1_800_000_000
"""A step back of half an hour or more is the clock being set back, not rows out of order."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recording of one well: where it lies and what it holds."""

    path: Path
    well: str
    instance: str
    grouped: bool
    time_column: str
    columns: tuple[str, ...]
    rows: int
    start_us: int
    """First local time, microseconds since 1970 read as if it were UTC."""


@dataclass(frozen=True, slots=True)
class Block:
    """The rows of a recording: UTC microseconds, and a value of each column, NaN where there is none."""

    times: NDArray[np.int64]
    values: NDArray[np.float64]
    columns: tuple[str, ...]
    without_time: int
    """Rows of the file that have no time and can therefore not be served."""


def find_recordings(folder: Path, instances: str = "*") -> tuple[Recording, ...]:
    """Return the recordings below a folder whose instance matches the glob, ordered by well and start.

    ConfigurationError lists every Parquet file that does not have the layout.
    """
    problems: list[Problem] = []
    found: list[Recording] = []
    for path in sorted(folder.rglob("*.parquet")):
        try:
            found += (each for each in _recordings_of(path) if fnmatchcase(each.instance, instances))
        except (ValueError, OSError, pl.exceptions.PolarsError) as error:
            problems.append(Problem(str(error), "Leave only recordings of the 3W layout there.", file=str(path)))
    if not found and not problems:
        remedy = "Name a folder of 3W recordings (*.parquet), and instances that it has."
        problems.append(Problem("no recording found", remedy, file=str(folder), value=instances))
    if problems:
        raise ConfigurationError(problems)
    return tuple(sorted(found, key=lambda each: (each.well, each.start_us, each.instance)))


def _recordings_of(path: Path) -> Iterator[Recording]:
    schema = pl.scan_parquet(path).collect_schema()
    time = next((name for name in _INDEX_NAMES if isinstance(schema.get(name), pl.Datetime)), None)
    columns = tuple(name for name in COLUMNS if name in schema)
    if time is None or not columns:
        missing = "no time column 'timestamp'" if time is None else f"none of the columns {', '.join(COLUMNS)}"
        raise ValueError(f"not a 3W recording: {missing}")
    grouped = "instance" in schema
    instance = pl.col("instance") if grouped else pl.lit(path.stem)
    summary = (
        pl.scan_parquet(path)
        .select(instance.alias("instance"), pl.col(time).cast(pl.Datetime("us")).alias("time"))
        .group_by("instance", maintain_order=True)
        .agg(pl.len().alias("rows"), pl.col("time").first().cast(pl.Int64).fill_null(0).alias("start"))
        .collect()
    )
    for name, rows, start in summary.iter_rows():
        matched = _NAMED.fullmatch(str(name))
        well = matched["well"] if matched else str(name)
        yield Recording(path, well, str(name), grouped, time, columns, rows, start)


def read_recording(recording: Recording, zone: str) -> Block:
    """Read a recording's rows in file order; local times of `zone` become UTC as `to_utc` says."""
    frame = pl.scan_parquet(recording.path)
    if recording.grouped:
        frame = frame.filter(pl.col("instance") == recording.instance)
    time = pl.col(recording.time_column).cast(pl.Datetime("us"))
    rows = frame.select(time.alias("time"), *(pl.col(name).cast(pl.Float64) for name in recording.columns)).collect()
    timed = rows.filter(pl.col("time").is_not_null())
    values = timed.select(pl.col(recording.columns).fill_null(float("nan"))).to_numpy()
    return Block(to_utc(timed["time"], zone), values, recording.columns, len(rows) - len(timed))


def to_utc(local: pl.Series, zone: str) -> NDArray[np.int64]:
    """Return UTC microseconds of the naive local times of one recording, in row order.

    An hour that occurs twice, when summer time ends, is told by row order: rows after the recording's clock was set
    back (by half an hour or more) are its second pass; so are those of a recording that begins within the hour and
    runs on past it without being set back. All others are its first pass. A local time that never was, because summer
    time began, keeps the offset of before. Every other time has one UTC time, also beside a clock set back too early.
    """
    first = _with_zone(local, zone, "earliest")
    second = _with_zone(local, zone, "latest")
    ambiguous = first != second
    if not ambiguous.any():
        return first
    naive = local.cast(pl.Int64).to_numpy()
    back = np.diff(naive, prepend=naive[0]) <= _BACK_US
    later = np.cumsum(back) > 0
    if not back.any() and ambiguous[0] and naive[-1] > naive[ambiguous].max():
        later[:] = True
    return np.where(ambiguous & later, second, first)


def _with_zone(local: pl.Series, zone: str, ambiguous: str) -> NDArray[np.int64]:
    frame = pl.DataFrame({"local": local})
    known = pl.col("local").dt.replace_time_zone(zone, ambiguous=ambiguous, non_existent="null")  # type: ignore[arg-type]
    # Summer time begins by at most a few hours: the offset of a day before is the one of before the change.
    day = pl.duration(days=1)
    offset = (pl.col("local") - day).dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
    before = (offset + day).dt.convert_time_zone("UTC")
    utc = pl.coalesce(known.dt.convert_time_zone("UTC"), before).cast(pl.Int64)
    result: NDArray[np.int64] = frame.select(utc.alias("utc"))["utc"].to_numpy()
    return result
