"""An owner that was paused, cut off, or without a database with all the others: nothing stored twice, nothing lost."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.device import device, fleet
from tests.ingesting import IngestProcess, ingests, register
from tests.proxy import proxy_to
from tests.waiting import eventually
from wellos.audit import audit
from wellos.settings import load_settings
from wellos.storage.migrations import migrate
from wellos.storage.warm import PgConnection, connect

if TYPE_CHECKING:
    from wellos.embedded.server import RunningServer

pytestmark = pytest.mark.fault
LEASE_S = 1.5
_DISCONNECTED = "SELECT count(*) FROM ingest_gaps WHERE reason = 'disconnected'"


def value(db: PgConnection, text: str, *values: object) -> int:
    row = db.execute(text, values).fetchone()
    assert row is not None
    return int(row[0])


def stored_by(db: PgConnection, process: IngestProcess) -> int:
    return value(db, "SELECT coalesce(sum(stored), 0) FROM ingest_ledger WHERE spool_id = %s", process.spool_id)


def fenced(db: PgConnection) -> int:
    return value(db, "SELECT count(*) FROM quarantine WHERE reason = 'fenced'")


def stored_too_late(db: PgConnection) -> int:
    """Readings that an owner stored although it received them after its term, and another had taken over."""
    text = """
        SELECT coalesce(sum(l.stored), 0) FROM ingest_ledger l
        JOIN ingest_lease_terms t USING (connection_id, spool_id)
        JOIN ingest_leases held USING (connection_id)
        WHERE t.term < held.term AND l.received_at > to_timestamp(t.valid_until_us / 1e6)"""
    return value(db, text)


def held(process: IngestProcess) -> float:
    return process.metric("scada_leases_held")


def open_files(process: IngestProcess) -> int:
    assert process.process is not None
    return len(list(Path(f"/proc/{process.process.pid}/fd").iterdir()))


def test_a_paused_owner_asks_before_it_takes_anything_in(tmp_path: Path, database_url: str, db: PgConnection) -> None:
    with device() as plc, ingests(tmp_path, database_url=database_url, lease_s=LEASE_S) as make:
        register(db, fleet(plc.port))
        first, second = make("first"), make("second")
        first.start()
        eventually(lambda: stored_by(db, first) > 10)
        second.start()
        assert held(second) == 0
        first.signal(signal.SIGSTOP)
        eventually(lambda: held(second) == 1)
        eventually(lambda: stored_by(db, second) > 3)
        first.signal(signal.SIGCONT)
        eventually(lambda: bool(first.logged("connections are no longer ours")))
        before = stored_by(db, second)
        eventually(lambda: stored_by(db, second) > before + 3)
        assert (held(first), held(second)) == (0, 1)
        assert [first.stop(), second.stop()] == [0, 0]
        assert stored_too_late(db) == 0
        assert value(db, _DISCONNECTED) >= 1, "nobody read meanwhile"
        for process in (first, second):
            assert audit(db, process.folder / "spool").problems == []


def test_an_owner_cut_off_from_the_database_is_fenced(tmp_path: Path, database_url: str, db: PgConnection) -> None:
    parts = conninfo_to_dict(database_url)
    with (
        device() as plc,
        proxy_to(str(parts["host"]), int(str(parts["port"]))) as link,
        ingests(tmp_path, database_url=database_url, lease_s=LEASE_S) as make,
    ):
        register(db, fleet(plc.port))
        through = f"postgresql://{parts['user']}:{parts.get('password', '')}@127.0.0.1:{link.port}/{parts['dbname']}"
        first, second = make("first", database_url=through), make("second")
        first.start()
        eventually(lambda: stored_by(db, first) > 3)
        files = open_files(first)
        second.start()
        link.silent = True  # it accepts, and never answers
        eventually(lambda: held(second) == 1)
        eventually(lambda: stored_by(db, second) > 3)
        # It cannot know, and goes on; then it gives up waiting for links that say nothing.
        eventually(lambda: bool(first.logged("the database does not answer: every connection to it is made anew")))
        assert first.metric("scada_leases_held") == 1
        assert first.metric("scada_spool_pending_rows") > 3
        link.silent = False
        eventually(lambda: bool(first.logged("connections are no longer ours")))
        eventually(lambda: first.metric("scada_spool_pending_rows") == 0)
        assert fenced(db) > 3
        assert stored_too_late(db) == 0
        assert len(first.logged("leases cannot be renewed: no answer")) >= 1
        eventually(lambda: open_files(first) <= files + 2)  # the heartbeat's first connection came later
        assert [first.stop(), second.stop()] == [0, 0]
        for process in (first, second):
            assert audit(db, process.folder / "spool").problems == []


def test_a_database_away_for_all_changes_no_owner(tmp_path: Path, own_postgres: RunningServer) -> None:
    settings = load_settings(database_url=own_postgres.url)
    migrate(settings)
    with device() as one, device() as other, ingests(tmp_path, database_url=own_postgres.url, lease_s=LEASE_S) as make:
        with connect(settings, autocommit=True) as db:
            register(db, fleet(one.port, other.port))
            first, second = make("first"), make("second")
            first.start()
            second.start()
            eventually(lambda: (held(first), held(second)) == (1, 1))
            eventually(lambda: min(stored_by(db, first), stored_by(db, second)) > 3)
            owners = db.execute("SELECT connection_id, spool_id, term FROM ingest_leases ORDER BY 1").fetchall()
            gaps = value(db, _DISCONNECTED)
        own_postgres.stop()
        asked = len(one.requests), len(other.requests)
        eventually(lambda: len(one.requests) > asked[0] + 15 and len(other.requests) > asked[1] + 15)
        own_postgres.start()
        with connect(settings, autocommit=True) as db:
            eventually(
                lambda: first.metric("scada_spool_pending_rows") + second.metric("scada_spool_pending_rows") == 0
            )
            assert db.execute("SELECT connection_id, spool_id, term FROM ingest_leases ORDER BY 1").fetchall() == owners
            assert fenced(db) == 0
            assert value(db, _DISCONNECTED) == gaps, "nobody stopped reading"
            assert [first.stop(), second.stop()] == [0, 0]
            for process in (first, second):
                assert audit(db, process.folder / "spool").problems == []


def test_the_same_spool_takes_its_own_back_at_once(tmp_path: Path, database_url: str, db: PgConnection) -> None:
    with device() as plc, ingests(tmp_path, database_url=database_url, lease_s=60) as make:
        register(db, fleet(plc.port))
        (one,) = [make("first")]
        for life in range(3):
            one.start()
            eventually(lambda: held(one) == 1)
            stored = stored_by(db, one)
            eventually(lambda stored=stored: stored_by(db, one) > stored + 3)  # type: ignore[misc]
            one.kill()
            assert value(db, "SELECT max(term) FROM ingest_lease_terms") == 1, life
        with pytest.raises(psycopg.errors.CheckViolation):
            db.execute("UPDATE ingest_leases SET term = 0")
