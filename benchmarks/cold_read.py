"""Parquet in the cold tier: bytes a reading, and how long a day of one tag takes, beside the file's bytes alone.

The readings are a day of the simulator's field, as sent, and with `--recordings` real ones of the 3W layout too. The
limits are the same row groups read from the same file without doing anything with them, and decoded by Arrow without
a check of anything. All is in the page cache, as what was asked for before is.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq

from benchmarks.report import Machine, Report, parser
from wellos.clock import from_micros
from wellos.readings import pack
from wellos.simulator.field import Field
from wellos.simulator.recordings import find_recordings, read_recording
from wellos.storage.cold.parquet import ParquetStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from wellos.readings import Readings

_START_US = 1_793_491_200_000_000
_DAY_US = 86_400_000_000
_TENANT = "bench"


def main(argv: list[str]) -> int:
    """Measure and report."""
    options = parser("cold_read", __doc__)
    options.add_argument("--wells", type=int, default=60, help="wells of 20 tags, some 170,000 readings each")
    options.add_argument("--reads", type=int, default=300, help="tag-days to read")
    options.add_argument("--recordings", type=Path, help="folder of recordings of the 3W layout")
    chosen, machine = options.parse_args(argv), Machine.read()
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="wellos-cold-") as folder:
        store = ParquetStore(Path(folder))
        readings = _simulated(chosen.wells)
        day = _day_of(readings)
        begun = time.perf_counter()
        copy = store.write(_TENANT, day, _pieces(readings), "bench")
        figures["readings a day"] = copy.rows
        figures["million readings/s written"] = copy.rows / (time.perf_counter() - begun) / 1e6
        begun = time.perf_counter()
        store.checksum(_TENANT, day)
        figures["million readings/s proven"] = copy.rows / (time.perf_counter() - begun) / 1e6
        figures["bytes a reading, simulated"] = copy.bytes / copy.rows
        figures |= _recorded(store, chosen.recordings)
        tags = np.random.default_rng(1).choice(np.unique(readings["tag_id"]), chosen.reads).tolist()
        span = (_START_US, _START_US + _DAY_US)
        took = _milliseconds(lambda tag: store.read(_TENANT, [tag], *span, [day]), tags)
        figures["ms a tag-day, p50"], figures["ms a tag-day, p95"] = np.percentile(took, (50, 95)).tolist()
        limit = _limits(Path(folder) / copy.location, tags)
    ratio = limit["ms to decode its row groups, p50"] / figures["ms a tag-day, p50"]
    Report("cold_read", figures, limit, ratio).show(machine, as_json=chosen.json)
    return 0


def _simulated(wells: int) -> Readings:
    field = Field(seed=1, wells=wells, tags=20, start_us=_START_US - _DAY_US)
    parts = []
    first = 1
    for number, well in enumerate(field.wells):
        part = field.samples(number, _START_US - 1, _START_US + _DAY_US - 1).copy()
        part["tag_id"] += first
        first += len(well.tags)
        parts.append(part[(part["time"] >= _START_US) & (part["time"] < _START_US + _DAY_US)])
    return _sorted(np.concatenate(parts))


def _recorded(store: ParquetStore, folder: Path | None) -> dict[str, float]:
    """Archive what was recorded, a well's day at a time; return how many readings and bytes a reading."""
    if folder is None:
        return {}
    rows = size = 0
    for recording in find_recordings(folder):
        block = read_recording(recording, "America/Sao_Paulo")
        value = block.values.ravel()
        tags = np.tile(np.arange(1, len(block.columns) + 1), len(block.times))
        quality = np.where(np.isnan(value), 0, 2)
        readings = _sorted(pack(np.repeat(block.times, len(block.columns)), value, tags, quality))
        for number in np.unique(readings["time"] // _DAY_US).tolist():
            part = readings[readings["time"] // _DAY_US == number]
            copy = store.write("recorded", _day_of(part), _pieces(part), "bench")
            rows, size = rows + copy.rows, size + copy.bytes
    return {"readings recorded": rows, "bytes a reading, recorded": size / rows}


def _sorted(readings: Readings) -> Readings:
    """Sort by tag and time, each once: a device's clock that was set back sends some times twice."""
    readings = np.sort(readings, order=["tag_id", "time"])
    new = (np.diff(readings["tag_id"]) != 0) | (np.diff(readings["time"]) != 0)
    kept: Readings = readings[np.concatenate([[True], new])]
    return kept


def _day_of(readings: Readings) -> date:
    return from_micros(int(readings["time"][0])).date()


def _pieces(readings: Readings) -> Iterator[Readings]:
    return (readings[at : at + 100_000] for at in range(0, len(readings), 100_000))


def _limits(path: Path, tags: Sequence[int]) -> dict[str, float]:
    """Return what reading, and decoding, the row groups of each tag takes when it is known where they are."""
    footer = pq.read_metadata(path)
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    spans = [(group.column(1).statistics.min, group.column(1).statistics.max) for group in groups]
    wanted = {tag: [n for n, (low, high) in enumerate(spans) if low <= tag <= high] for tag in set(tags)}
    places = [(_start(group), sum(group.column(n).total_compressed_size for n in range(5))) for group in groups]

    def read(tag: int) -> None:
        with path.open("rb") as file:
            for start, size in (places[number] for number in wanted[tag]):
                file.seek(start)
                file.read(size)

    def decode(tag: int) -> None:
        with path.open("rb") as file:
            pq.ParquetFile(file, metadata=footer).read_row_groups(wanted[tag], use_threads=False)

    return {
        "ms to read its bytes, p50": float(np.median(_milliseconds(read, tags))),
        "ms to decode its row groups, p50": float(np.median(_milliseconds(decode, tags))),
    }


def _start(group: pq.RowGroupMetaData) -> int:
    return int(group.column(0).dictionary_page_offset or group.column(0).data_page_offset)


def _milliseconds(work: Callable[[int], object], tags: Sequence[int]) -> list[float]:
    took = []
    for tag in tags:
        begun = time.perf_counter()
        work(tag)
        took.append(1e3 * (time.perf_counter() - begun))
    return took
