"""Rate of binary COPY into `readings` on the database of WELLOS_DATABASE_URL, in transactions of 20,000 rows."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from wellos.clock import WallClock, to_micros
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wellos.storage.warm import PgConnection

ROWS, TAGS, BATCHES = 20_000, 5_000, 40
_EPOCH_US = to_micros(datetime(2000, 1, 1, tzinfo=UTC))
_FIELDS = [("time", ">i8"), ("tag_id", ">i4"), ("value", ">f8"), ("quality", ">i2"), ("status", ">i4")]
_ROW = np.dtype(
    [("fields", ">i2"), *(part for name, kind in _FIELDS for part in ((f"{name} size", ">i4"), (name, kind)))]
)
_HEADER, _TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


def encode(start_us: int, rng: np.random.Generator) -> bytes:
    """One batch: every tag once a second from `start_us` on."""
    rows: NDArray[np.void] = np.zeros(ROWS, dtype=_ROW)
    rows["fields"] = 5
    for name, kind in _FIELDS:
        rows[f"{name} size"] = np.dtype(kind).itemsize
    rows["time"] = start_us - _EPOCH_US + np.arange(ROWS) // TAGS * 1_000_000
    rows["tag_id"] = np.arange(ROWS) % TAGS + 1
    rows["value"] = rng.normal(100, 5, ROWS).round(2)
    rows["quality"] = 2
    return _HEADER + rows.tobytes() + _TRAILER


def rate(connection: PgConnection, start: datetime) -> float:
    """Median rows a second of the batches, each its own transaction."""
    rng, clock = np.random.default_rng(1), WallClock()
    days = [(start + timedelta(days=day)).date() for day in range(2)]
    connection.execute("SELECT ensure_readings_partitions(%s::date[])", (days,))
    seconds = []
    for number in range(BATCHES):
        data = encode(to_micros(start) + number * (ROWS // TAGS) * 1_000_000, rng)
        begun = clock.monotonic()
        with connection.cursor().copy("COPY readings FROM STDIN (FORMAT binary)") as copy:
            copy.write(data)
        seconds.append(clock.monotonic() - begun)
    return ROWS / median(seconds)


def main() -> None:
    """Print rows a second for data nobody has aggregated yet, and for late data below the watermark."""
    with connect(load_settings(), autocommit=True) as connection:
        noon = WallClock().now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
        print(f"beyond the watermark: {rate(connection, noon):,.0f} rows/s")
        if "--late" in sys.argv[1:]:
            connection.execute("CALL refresh_aggregates()")
            print(f"below the watermark: {rate(connection, noon - timedelta(days=3)):,.0f} rows/s")


if __name__ == "__main__":
    main()
