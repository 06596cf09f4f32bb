"""Append and sync of the journal for small and large frames and many writers, beside raw write and fdatasync."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Machine, Report, parser
from streaming.spool import Entry, Journal
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import pack

if TYPE_CHECKING:
    from collections.abc import Callable

CASES = {
    "100 rows": (100, 1),
    "1,000 rows": (1_000, 1),
    "20,000 rows": (20_000, 1),
    "50 writers of 100 rows": (100, 50),
}
"""Readings in a frame, and frames in a commit."""
CLOCK = WallClock()


@dataclass(slots=True)
class Timed:
    """Commits of one kind and how long each took."""

    seconds: list[float] = field(default_factory=list)
    total: float = 0.0

    def run(self, commit: Callable[[], None], seconds: float) -> None:
        """Commit for so long."""
        begun = now = CLOCK.monotonic()
        while now - begun < seconds:
            commit()
            after = CLOCK.monotonic()
            self.seconds.append(after - now)
            now = after
        self.total += now - begun

    @property
    def per_s(self) -> float:
        """Commits a second."""
        return len(self.seconds) / self.total


def entries(rows: int, writers: int) -> list[Entry]:
    """Return what one commit holds."""
    values = np.random.default_rng(1).normal(100, 5, rows)
    batch = pack(CLOCK.micros() + np.arange(rows), values, np.arange(rows) % 5_000 + 1, Quality.GOOD)
    return [Entry(number + 1, CLOCK.micros(), batch) for number in range(writers)]


def measure(folder: Path, rows: int, writers: int, seconds: float, rounds: int) -> tuple[Timed, Timed, int]:
    """Return the journal's commits, the raw ones of as many bytes in turn with them, and the bytes of one."""
    journal = Journal(folder / "spool", quota_bytes=8 << 30, segment_bytes=64 << 20, now_us=CLOCK.micros)
    raw = os.open(folder / "raw", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    content = entries(rows, writers)
    data = b"".join(entry.encode(1, entry.encode_payload()) for entry in content)
    ours, bare, end = Timed(), Timed(), 0

    def commit() -> None:
        for entry in content:
            journal.append(entry)
        journal.sync()

    def write() -> None:
        nonlocal end
        end += os.pwrite(raw, data, end)
        os.fdatasync(raw)

    try:
        for _ in range(rounds):
            ours.run(commit, seconds)
            while items := journal.read(100_000):
                journal.advance(items)
            bare.run(write, seconds)
            os.ftruncate(raw, 0)
            end = 0
    finally:
        journal.close()
        os.close(raw)
    return ours, bare, len(data)


def main(argv: list[str]) -> int:
    """Report rates and times of each case; the ratio is that of frames of 1,000 rows."""
    options = parser("journal", __doc__)
    options.add_argument("--folder", type=Path, default=Path(), help="where to write: the disk that is measured")
    options.add_argument("--seconds", type=float, default=1.0, help="of each round, of which there are three")
    chosen, machine = options.parse_args(argv), Machine.read()
    figures: dict[str, float] = {}
    limit: dict[str, float] = {}
    ratio = 0.0
    for name, (rows, writers) in CASES.items():
        with tempfile.TemporaryDirectory(prefix="journal-", dir=chosen.folder) as folder:
            ours, bare, size = measure(Path(folder), rows, writers, chosen.seconds, 3)
        figures[f"rows/s, {name}"] = ours.per_s * rows * writers
        for found, timed in ((figures, ours), (limit, bare)):
            found[f"MB/s, {name}"] = timed.per_s * size / 1e6
            for share in (50, 99):
                found[f"ms of a sync p{share}, {name}"] = float(np.percentile(timed.seconds, share)) * 1e3
        if name == "1,000 rows":
            ratio = ours.per_s / bare.per_s
    Report("journal", figures, limit, ratio).show(machine, as_json=chosen.json)
    return 0
