"""The database falls back to an older copy of itself: what it lost is stored again from kept segments, or told of."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.feeding import Feeding, feeding, verify
from tests.waiting import eventually
from wellos.audit import audit
from wellos.settings import load_settings
from wellos.storage.migrations import migrate
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.embedded.server import RunningServer

pytestmark = pytest.mark.fault


def more(running: Feeding, deliveries: int) -> None:
    """Wait until so many more were acknowledged."""
    before = len(running.acknowledged())
    eventually(lambda: len(running.acknowledged()) > before + deliveries)


def connected(running: Feeding, times: int) -> None:
    """Wait until it has begun to store readings so often."""
    eventually(lambda: sum("readings go to the database" in line for line in running.lines()) >= times)


def fall_back(server: RunningServer, folder: Path, running: Feeding) -> None:
    """Feed, copy the stopped cluster, feed on, kill it, and start the copy in its place."""
    more(running, 300)
    connected(running, 1)
    server.stop()
    subprocess.run(["cp", "-a", folder / "data", folder / "older"], check=True)
    server.start()
    more(running, 600)
    connected(running, 2)
    more(running, 300)
    server.kill()
    (folder / "data").rename(folder / "newer")
    (folder / "older").rename(folder / "data")
    server.start()
    more(running, 300)


def test_kept_segments_feed_a_database_that_fell_back(own_postgres: RunningServer, tmp_path: Path) -> None:
    settings = load_settings(database_url=own_postgres.url, data_dir=tmp_path)
    migrate(settings)
    with feeding(tmp_path, own_postgres.url, 0) as running:
        fall_back(own_postgres, tmp_path / "postgres", running)
        counts = running.end()
        acknowledged = running.acknowledged()
    assert counts["rewound"] > 0
    assert counts.get("lost", 0) == 0
    assert len(acknowledged) > 1000
    with connect(settings, autocommit=True) as db:
        verify(db, tmp_path, acknowledged)


def test_what_is_kept_no_more_is_told(own_postgres: RunningServer, tmp_path: Path) -> None:
    settings = load_settings(database_url=own_postgres.url, data_dir=tmp_path)
    migrate(settings)
    keep_nothing = {"WELLOS_SPOOL_KEEP_BYTES": "0", "WELLOS_SPOOL_SEGMENT_BYTES": "65536"}
    with feeding(tmp_path, own_postgres.url, 0, environment=keep_nothing) as running:
        fall_back(own_postgres, tmp_path / "postgres", running)
        counts = running.end()
        said = "\n".join(running.lines())
    assert counts["rewound"] >= counts["lost"] > 0
    assert "the database has lost readings that the spool no longer keeps" in said
    with connect(settings, autocommit=True) as db:
        books = audit(db, tmp_path / "spool")
        told = db.execute(
            "SELECT sum(ended_at - started_at) > '0' FROM ingest_gaps WHERE reason = 'spool_lost'"
        ).fetchone()
        kept = db.execute("SELECT reason, connection_id, detail FROM quarantine").fetchall()
    assert books.problems == []
    assert sum(row.corrupt for row in books.rows) == len(kept) > 0
    assert all("segment missing" in detail for _, _, detail in kept)
    assert told == (True,)
