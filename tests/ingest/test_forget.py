"""`wellos ingest --forget`: an instance that is gone is closed with what may be lost; one that lives is not."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner

from streaming.lease_table import LeaseTable
from tests.seed import add_tags
from wellos.cli.ingest import ingest
from wellos.clock import WallClock
from wellos.errors import ConfigurationError
from wellos.forget import forget
from wellos.ingest_status import instances
from wellos.settings import load_settings
from wellos.verdicts import ingest_lag

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

HELD = timedelta(minutes=3)


def instance(db: PgConnection, spool_id: UUID, rows: int) -> None:
    now = WallClock().now()
    db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time, "
        "spool_rows) VALUES (%s, 'pump', 7, %s, %s, %s, %s)",
        (spool_id, now, now, now - HELD if rows else None, rows),
    )


def test_what_is_gone_is_closed_and_its_connections_are_free(
    db: PgConnection, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(database_url=database_url)
    gone, other = uuid4(), uuid4()
    add_tags(db)
    instance(db, gone, 1234)
    table, heir = LeaseTable(settings, gone, WallClock()), LeaseTable(settings, other, WallClock())
    assert table.round({}, {}).claimed
    table.close()
    with pytest.raises(ConfigurationError, match="lives: process 7 on pump"):
        forget(db, gone, WallClock().now())
    assert not heir.round({}, {}).claimed
    db.execute("UPDATE ingest_members SET expires_at = now() WHERE spool_id = %s", (gone,))
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    done = CliRunner().invoke(ingest, ["--forget", str(gone)])
    assert done.exit_code == 0, done.output
    assert "held 1,234 readings that were not stored" in done.output
    assert instances(db) == []
    assert ingest_lag(db, WallClock().now(), 1).description == "no ingest instance is running"
    recorded = db.execute("SELECT forgotten_rows, forgotten_at = stopped_at FROM ingest_instances").fetchone()
    assert recorded == (1234, True)
    lost = db.execute(
        "SELECT g.spool_id, g.connection_id = c.connection_id, tag_id, started_at, ended_at, reason, closed_at "
        "FROM ingest_gaps g, scada_connections c"
    ).fetchall()
    (began,) = db.execute("SELECT heartbeat_at FROM ingest_instances").fetchone() or (None,)
    assert began is not None
    assert lost == [(gone, True, None, began - HELD, began, "spool_forgotten", None)]
    assert [lease.term for lease in heir.round({}, {}).claimed.values()] == [2]
    heir.close()
    with pytest.raises(ConfigurationError, match="is closed since"):
        forget(db, gone, WallClock().now())


def test_what_it_fed_without_a_lease_is_a_gap_too(db: PgConnection) -> None:
    gone, other = uuid4(), uuid4()
    add_tags(db)
    add_tags(db, slug="other")
    instance(db, gone, 7)
    now = WallClock().now()
    for number, spool in ((1, gone), (2, other)):
        state = "INSERT INTO ingest_connections VALUES (%s, %s, 'connected', %s, NULL, '', '', 0, 0, %s)"
        db.execute(state, (number, spool, now, now))
    forget(db, gone, now)
    assert db.execute("SELECT connection_id FROM ingest_gaps").fetchall() == [(1,)]


def test_one_that_had_stored_all_says_so(db: PgConnection) -> None:
    gone = uuid4()
    add_tags(db)
    instance(db, gone, 0)
    db.execute("INSERT INTO ingest_leases VALUES (1, %s, 1, now(), now(), false, 0)", (gone,))
    assert "all it had was stored" in str(forget(db, gone, WallClock().now()))
    assert db.execute("SELECT count(*) FROM ingest_gaps").fetchone() == (0,), "nothing is missing"


def test_an_unknown_spool_is_refused(db: PgConnection) -> None:
    with pytest.raises(ConfigurationError, match="no such instance"):
        forget(db, uuid4(), WallClock().now())
