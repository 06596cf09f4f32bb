"""Ingest and the database killed by -9 at any moment: acknowledged is stored, once, unaltered, and the books agree."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.feeding import feeding, verify
from tests.waiting import eventually
from wellos.settings import load_settings
from wellos.spool_format import Frame, scan
from wellos.storage.migrations import migrate
from wellos.storage.warm import PgConnection, connect

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.embedded.server import RunningServer

pytestmark = pytest.mark.fault


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
