"""Rate of the warm sink where a share of the readings is stored already, beside raw COPY of as many new ones."""

from __future__ import annotations

from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from streaming.sinks.warm import WarmSink
from wellos.clock import WallClock, to_micros
from wellos.quality import Quality
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.spool_format import Frame, Header
from wellos.storage.copy import copy_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.readings import Readings

ROWS, FRAMES, TAGS = 20_000, 50, 25_000
WARM_UP = 3
SHARES = {"none": 0.0, "0.01 %": 0.0001, "1 %": 0.01, "100 %": 1.0}


class _Feed:
    """New readings, every tag once a second, and readings that it gave before."""

    def __init__(self, start_us: int) -> None:
        self._start_us, self._given = start_us, 0
        self._random = np.random.default_rng(1)

    def new(self, count: int) -> Readings:
        ids = np.arange(self._given, self._given + count)
        self._given += count
        return self._of(ids)

    def mixed(self, share: float) -> Readings:
        """Return a batch of which this share is stored: all of it in the order it was stored in, some anywhere."""
        repeats = round(ROWS * share)
        if repeats == ROWS:
            return self._of(np.arange(ROWS) + int(self._random.integers(self._given - ROWS)))
        old = self._of(self._random.choice(self._given, repeats, replace=False))
        return np.insert(self.new(ROWS - repeats), self._random.integers(ROWS - repeats, size=repeats), old)

    def _of(self, ids: np.ndarray[tuple[int], np.dtype[np.int64]]) -> Readings:
        times = self._start_us + ids // TAGS * 1_000_000
        return pack(times, ids % 9973 * 0.25, 1 + ids % TAGS, Quality.GOOD)


def frames(batch: Readings, number: int) -> Iterator[Frame]:
    """Cut a batch into frames as the journal holds them."""
    rows = ROWS // FRAMES
    for at in range(FRAMES):
        part = batch[at * rows : (at + 1) * rows]
        first = int(part["time"].min())
        yield Frame(Header(1, 0, 0, number * FRAMES + at + 1, 1, first, first, rows, 0, 0, 0, rows, 0), part, b"")


def main(argv: list[str]) -> int:
    """Report the median rate of each share."""
    options = parser("merge", __doc__)
    add_database_option(options)
    options.add_argument("--batches", type=int, default=20, help="batches of 20,000 readings for each share")
    chosen, machine, clock = options.parse_args(argv), Machine.read(), WallClock()
    midnight = clock.now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    feed, number = _Feed(to_micros(midnight)), 0
    with database(chosen.database_url) as url:
        settings = load_settings(database_url=url)
        sink = WarmSink(settings, uuid4(), clock)

        def measure(share: float, *, replacing: bool = False) -> float:
            nonlocal number
            rates = []
            for turn in range(WARM_UP + chosen.batches):
                batch = feed.mixed(share)
                if replacing:
                    batch["value"] += turn + 1
                items = list(frames(batch, number))
                number += 1
                begun = clock.monotonic()
                sink.commit(items)
                rates.append(ROWS / (clock.monotonic() - begun))
            return median(rates[WARM_UP:])

        with connect(settings, autocommit=True) as connection:
            connection.execute("SELECT ensure_readings_partitions(%s::date[])", ([midnight.date()],))
            raw = []
            for _ in range(WARM_UP + chosen.batches):
                batch = feed.new(ROWS)
                begun = clock.monotonic()
                with connection.transaction(), connection.cursor() as cursor:
                    copy_readings(cursor, batch)
                raw.append(ROWS / (clock.monotonic() - begun))
            limit = median(raw[WARM_UP:])
        figures = {f"readings/s, {name} stored already": measure(share) for name, share in SHARES.items()}
        figures["readings/s, 100 % with other values"] = measure(1.0, replacing=True)
        sink.close()
        ratio = figures["readings/s, 1 % stored already"] / limit
        report = Report("merge", figures, {"rows/s, raw COPY": limit}, ratio, (versions(url),))
    report.show(machine, as_json=chosen.json)
    return 0
