"""Three instances on one simulated field, one killed, one joining: a connection has one reader, a reading one row."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.ingesting import IngestProcess, ingests, register, simulated_field
from tests.waiting import eventually
from wellos.audit import audit
from wellos.clock import WallClock

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]
LEASE_S = 3.0
SPEED = 60


class Watch:
    """Looks at who holds what, and that no two processes run one connection."""

    def __init__(self, db: PgConnection) -> None:
        self.db = db

    def owners(self) -> dict[int, str]:
        rows = self.db.execute(
            "SELECT connection_id, spool_id::text FROM ingest_leases WHERE expires_at > clock_timestamp()"
        )
        return dict(rows.fetchall())

    def connections(self) -> int:
        row = self.db.execute("SELECT count(*) FROM scada_connections").fetchone()
        assert row is not None
        return int(row[0])

    def shared_by(self, *processes: IngestProcess) -> bool:
        """Tell whether these read all connections, and share them fairly."""
        found = list(self.owners().values())
        counts = [found.count(process.spool_id) for process in processes]
        most = -(-self.connections() // len(processes))
        return sum(counts) == self.connections() and max(counts) <= most

    def all_read(self) -> bool:
        """Tell whether every connection has stored readings under its present term since it was claimed."""
        silent = self.db.execute(
            """SELECT count(*) FROM ingest_leases l WHERE NOT EXISTS (
                   SELECT FROM ingest_ledger g WHERE g.connection_id = l.connection_id AND g.spool_id = l.spool_id
                      AND g.rows > 0 AND g.committed_at > l.claimed_at)"""
        ).fetchone()
        return silent == (0,)


def running_of(processes: list[IngestProcess]) -> float:
    return sum(process.metric("scada_leases_held") for process in processes)


def test_one_is_killed_and_one_joins(tmp_path: Path, database_url: str, db: PgConnection, mqtt_url: str) -> None:
    start = WallClock().now() - timedelta(hours=6)
    clock = f"{start.isoformat()}@{WallClock().now().isoformat()}*{SPEED}"
    watch = Watch(db)
    with (
        simulated_field(tmp_path / "field", mqtt_url, clock) as fleet,
        ingests(tmp_path, database_url=database_url, clock=clock, lease_s=LEASE_S) as make,
    ):
        register(db, fleet)
        first, second, third = make("first"), make("second"), make("third")
        first.start()
        assert watch.connections() == 4
        eventually(lambda: watch.shared_by(first))
        second.start()
        eventually(lambda: watch.shared_by(first, second))
        eventually(watch.all_read)
        second.kill()
        third.start()
        eventually(lambda: watch.shared_by(first, third), 15)
        eventually(watch.all_read)
        assert running_of([first, third]) == watch.connections()
        second.start()  # stores what its spool still holds, and takes its share again
        eventually(lambda: watch.shared_by(first, second, third))
        eventually(watch.all_read)
        alive = [first, second, third]
        eventually(lambda: sum(process.metric("scada_connections_unclaimed") for process in alive) == 0)
        for process in alive:
            assert not [item for item in process.events() if item["level"] == "error"]
        assert [process.stop() for process in alive] == [0, 0, 0]
    for process in alive:
        assert audit(db, process.folder / "spool").problems == []
    terms = db.execute("SELECT count(*), max(term) FROM ingest_lease_terms").fetchone()
    assert terms is not None
    assert terms[1] >= 2, "no connection changed its reader"
    taken_over = """
        SELECT count(*) FROM ingest_gaps g JOIN ingest_ledger l USING (spool_id, seq)
        WHERE g.reason IN ('disconnected', 'session_lost', 'poll_missed')"""
    assert db.execute(taken_over).fetchone() != (0,), "time without a reader is a gap"
    assert (
        db.execute("SELECT count(*) FROM readings").fetchone()
        == db.execute("SELECT count(DISTINCT (tag_id, time)) FROM readings").fetchone()
    )
