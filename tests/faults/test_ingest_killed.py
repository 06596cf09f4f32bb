"""Ingest and the database killed by -9 at any moment: acknowledged is stored, once, unaltered, and the books agree."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests import feeder
from tests.waiting import eventually
from wellos.audit import audit
from wellos.settings import load_settings
from wellos.spool_format import Frame, scan
from wellos.storage.copy import read_readings
from wellos.storage.migrations import migrate
from wellos.storage.warm import PgConnection, connect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.embedded.server import RunningServer

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
ROOT = Path(__file__).parents[2]


class Feeding:
    """One life of the feeder."""

    def __init__(self, folder: Path, url: str, first: int) -> None:
        self._log = folder / f"feed-{first}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.feeder", str(folder), url, str(first)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[str]:
        return self._log.read_text().splitlines()

    def acknowledged(self) -> set[int]:
        return {int(line[4:]) for line in self.lines() if line.startswith("ack ") and line[4:].isdigit()}

    def end(self) -> dict[str, int]:
        """Stop it in order and return what it counted."""
        eventually(lambda: "up" in self.lines())
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self._log.read_text()
        return {str(k): int(v) for k, v in json.loads(self.lines()[-1].removeprefix("end ")).items()}


@contextlib.contextmanager
def feeding(folder: Path, url: str, first: int) -> Iterator[Feeding]:
    life = Feeding(folder, url, first)
    try:
        yield life
    finally:
        life.process.kill()
        life.process.wait()


def verify(db: PgConnection, folder: Path, acknowledged: set[int]) -> None:
    """Acknowledged is stored; all that is stored was sent, once, with the value it was sent with."""
    found = read_readings(db, list(range(1, feeder.TAGS + 1)), feeder.BASE_US, feeder.BASE_US + 10**13)
    ids = np.sort(found["time"] - feeder.BASE_US)
    assert len(np.unique(ids)) == len(ids)
    expected = np.concatenate([feeder.readings_of(number) for number in sorted(acknowledged)])
    assert np.isin(expected["time"] - feeder.BASE_US, ids).all()
    order = np.argsort(found["time"])
    issued = np.concatenate([feeder.readings_of(n) for n in np.unique(ids // feeder.ROWS).tolist()])
    issued = issued[np.isin(issued["time"], found["time"])]
    for name in ("time", "tag_id", "value", "quality", "status"):
        assert (found[name][order] == issued[name]).all(), name
    books = audit(db, folder / "spool")
    assert books.problems == []
    assert books.pending_frames == 0
    assert sum(row.stored for row in books.rows) == len(found)


def test_ingest_killed_many_times(db: PgConnection, database_url: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)  # noqa: T201 - pytest shows it when the test fails
    moments = random.Random(seed)
    acknowledged: set[int] = set()
    left_over = 0
    for life in range(5):
        with feeding(tmp_path, database_url, life * 1_000_000) as running:
            eventually(lambda: bool(running.acknowledged()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(moments.uniform(0.05, 0.8))
            os.kill(running.process.pid, signal.SIGKILL)
            running.process.wait()
            acknowledged |= running.acknowledged()
        left_over += sum(isinstance(item, Frame) for item in scan(tmp_path / "spool"))
    with feeding(tmp_path, database_url, -1) as last:
        counts = last.end()
    assert len(acknowledged) > 500
    assert left_over > 0, "nothing had to be delivered again"
    assert counts.get("lost", 0) == 0
    verify(db, tmp_path, acknowledged)


def test_the_database_killed_twice_under_load(own_postgres: RunningServer, tmp_path: Path) -> None:
    settings = load_settings(database_url=own_postgres.url, data_dir=tmp_path)
    migrate(settings)
    with feeding(tmp_path, own_postgres.url, 0) as running:
        for _ in range(2):
            before = len(running.acknowledged())
            eventually(lambda before=before: len(running.acknowledged()) > before + 300)  # type: ignore[misc]
            own_postgres.kill()
            down = len(running.acknowledged())
            eventually(lambda down=down: len(running.acknowledged()) > down + 300)  # type: ignore[misc]
            own_postgres.start()
        counts = running.end()
        acknowledged = running.acknowledged()
    assert len(acknowledged) > 1000
    assert counts["stored"] > 0
    with connect(settings, autocommit=True) as db:
        verify(db, tmp_path, acknowledged)
