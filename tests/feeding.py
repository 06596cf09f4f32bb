"""Runs `tests.feeder` as a child, to be killed, and verifies what became of all that was acknowledged."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tests import feeder
from tests.waiting import eventually
from wellos.audit import audit
from wellos.storage.copy import read_readings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from wellos.storage.warm import PgConnection

__all__ = ["Feeding", "feeding", "verify"]

ROOT = Path(__file__).parents[1]


class Feeding:
    """One life of the feeder; `under` is a command that runs it, `environment` its settings."""

    def __init__(
        self,
        folder: Path,
        url: str,
        first: int,
        under: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._under = bool(under)
        self._log = folder / f"feed-{first}.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*under, sys.executable, "-m", "tests.feeder", str(folder), url, str(first)],
                cwd=ROOT,
                env=os.environ | (environment or {}),
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def lines(self) -> list[str]:
        """Return what it printed."""
        return self._log.read_text().splitlines()

    def acknowledged(self) -> set[int]:
        """Return the deliveries it was told are durable."""
        return {int(line[4:]) for line in self.lines() if line.startswith("ack ") and line[4:].isdigit()}

    def pid(self) -> int:
        """Return the number of the feeder itself, which may run under another command."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if self._under and children else self.process.pid

    def kill(self) -> None:
        """Kill it, and what it runs under."""
        for pid in {self.pid(), self.process.pid} if self.process.poll() is None else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> dict[str, int]:
        """Stop it in order and return what it counted."""
        eventually(lambda: "up" in self.lines())
        os.kill(self.pid(), signal.SIGTERM)
        assert self.process.wait(60) == 0, self._log.read_text()
        return {str(k): int(v) for k, v in json.loads(self.lines()[-1].removeprefix("end ")).items()}


@contextlib.contextmanager
def feeding(
    folder: Path, url: str, first: int, under: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Iterator[Feeding]:
    """Run one life of the feeder, killed at the end where it is not over."""
    life = Feeding(folder, url, first, under, environment)
    try:
        yield life
    finally:
        life.kill()


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
