"""Migrations: numbering, checksums, transactions, the lock, and one engine for the life of a database."""

from __future__ import annotations

import secrets
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from wellos.errors import ConfigurationError
from wellos.settings import load_settings
from wellos.storage.migrations import MigrationError, load_migrations, migrate, state
from wellos.storage.sql import sql_folder
from wellos.storage.warm import Server, connect, describe

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations, to be spoilt."""
    return Path(shutil.copytree(sql_folder() / "migrations", tmp_path / "migrations"))


def _write(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name.removeprefix('n').replace('__', '.')}.sql").write_text(text)
    return folder


def _refusal(db: PgConnection, folder: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        migrate(db, folder)
    assert caught.value.exit_status == 2
    return str(caught.value)


def test_a_migrated_database_has_nothing_pending(db: PgConnection) -> None:
    assert state(db).pending == ()
    assert migrate(db) == ()
    assert [row.version for row in state(db).applied] == [item.version for item in load_migrations("plain")]


def test_every_number_has_both_engines_or_none() -> None:
    plain, timescale = load_migrations("plain"), load_migrations("timescale")
    assert [(item.version, item.name, item.by_engine) for item in plain] == [
        (item.version, item.name, item.by_engine) for item in timescale
    ]
    assert [item.version for item in plain] == list(range(1, len(plain) + 1))


def test_a_role_that_may_not_is_told_what_it_lacks(empty_database_url: str) -> None:
    role = sql.Identifier(f"wellos_test_{secrets.token_hex(4)}")
    with connect(load_settings(database_url=empty_database_url), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {}").format(role))
        try:
            connection.execute(sql.SQL("SET ROLE {}").format(role))
            with pytest.raises(ConfigurationError, match=r"WELLOS_DATABASE_URL: .*may not"):
                migrate(connection)
        finally:
            connection.execute("RESET ROLE")
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_migrating_anew_applies_all_in_order(empty_database_url: str) -> None:
    settings = load_settings(database_url=empty_database_url)
    with connect(settings, autocommit=True) as connection:
        pending = state(connection).pending
        assert [item.version for item in pending] == list(range(1, len(pending) + 1))
        assert migrate(settings) == pending
        assert state(connection).pending == ()


def test_a_connection_is_left_as_it_was(empty_database_url: str, tmp_path: Path) -> None:
    folder = _write(tmp_path / "m", n0001_a="CREATE TABLE a ()")
    with connect(load_settings(database_url=empty_database_url)) as connection:
        migrate(connection, folder)
        assert not connection.autocommit
        connection.execute("SET search_path TO pg_catalog")
        connection.commit()
        migrate(connection, folder)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_an_edited_migration_is_refused(db: PgConnection, folder: Path) -> None:
    edited = folder / "0001_registry.sql"
    edited.write_text(edited.read_text() + "-- one more word\n")
    (folder / "9999_new.sql").write_text("CREATE TABLE never ()")
    message = _refusal(db, folder)
    assert "0001_registry.sql: migration edited after it was applied on" in message
    assert "new migration" in message
    assert db.execute("SELECT to_regclass('never')").fetchone() == (None,)


def test_line_endings_are_not_an_edit(db: PgConnection, folder: Path) -> None:
    for path in folder.glob("*.sql"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(db, folder) == ()


def test_every_contradiction_is_told_at_once(db: PgConnection, folder: Path) -> None:
    (folder / "0001_registry.sql").write_text("SELECT 1")
    (folder / "0002_ingest.sql").rename(folder / "0000_early.sql")
    lines = _refusal(db, folder).splitlines()
    assert len(lines) == 3
    assert "0001_registry.sql: migration edited" in lines[0]
    assert "migration 0002_ingest was applied and there is no such file" in lines[1]
    assert "0000_early.sql: new migration numbered below the newest applied one" in lines[2]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"nfirst": ""}, "first.sql: not the name of a migration"),
        ({"n001_a": ""}, "001_a.sql: not the name of a migration"),
        ({"n0001_a": "", "n0001_b": ""}, "0001 has two names: a, b"),
        ({"n0001_a__plain": ""}, "0001_a.plain.sql: the other engine has no part"),
        ({"n0001_a__timescale": ""}, "0001_a.timescale.sql: the other engine has no part"),
    ],
)
def test_a_folder_that_breaks_the_numbering_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        load_migrations("plain", _write(tmp_path / "m", **files))


def test_the_neutral_part_runs_first(empty_database_url: str, tmp_path: Path) -> None:
    part = "INSERT INTO a VALUES ('{}')"
    files = {"n0001_a": "CREATE TABLE a (engine text)", "n0001_a__plain": part.format("plain")}
    folder = _write(tmp_path / "m", **files, n0001_a__timescale=part.format("timescale"))
    with connect(load_settings(database_url=empty_database_url), autocommit=True) as connection:
        migrate(connection, folder)
        kind = describe(connection).engine
        assert connection.execute("SELECT engine FROM a").fetchall() == [(kind,)]
        assert [row.engine for row in state(connection, folder).applied] == [kind]


def test_a_failing_migration_leaves_nothing_and_says_where(empty_database_url: str, tmp_path: Path) -> None:
    broken = "CREATE TABLE b ();\nINSERT INTO b\nSELECT nothing FROM nowhere;"
    folder = _write(tmp_path / "m", n0001_a="CREATE TABLE a ()", n0002_b=broken, n0003_c="CREATE TABLE c ()")
    with connect(load_settings(database_url=empty_database_url), autocommit=True) as connection:
        with pytest.raises(MigrationError, match=r"0002_b\.sql:3: relation \"nowhere\" does not exist"):
            migrate(connection, folder)
        found = connection.execute("SELECT to_regclass('a'), to_regclass('b'), to_regclass('c')").fetchone()
        assert found == ("a", None, None)
        _write(folder, n0002_b="CREATE TABLE b ()")
        assert [item.version for item in migrate(connection, folder)] == [2, 3]


def test_migrating_at_once_from_many_places_applies_each_once(empty_database_url: str, tmp_path: Path) -> None:
    slow = "CREATE TABLE t{0} (); SELECT pg_sleep(0.05)"
    folder = _write(tmp_path / "m", **{f"n{number:04}_t": slow.format(number) for number in range(1, 6)})

    def run(_: int) -> int:
        with connect(load_settings(database_url=empty_database_url), autocommit=True) as connection:
            return len(migrate(connection, folder))

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(run, range(6))) == [0, 0, 0, 0, 0, 5]


def test_a_database_keeps_its_engine(db: PgConnection, database_engine: Engine) -> None:
    other = "timescale" if database_engine == "plain" else "plain"
    db.execute("UPDATE schema_migrations SET engine = %s WHERE engine <> 'neutral'", (other,))
    with pytest.raises(ConfigurationError) as caught:
        migrate(db)
    assert f"this database was migrated as {other}, and now it is {database_engine}" in str(caught.value)
    assert "WELLOS_DATABASE_URL" in str(caught.value)


def test_the_apache_edition_is_plain_and_says_so(db: PgConnection, empty_database_url: str) -> None:
    with connect(load_settings(database_url=empty_database_url), autocommit=True) as connection:
        if not describe(connection).available:
            pytest.skip("the server has no TimescaleDB")
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        if describe(connection).licence != "apache":
            pytest.skip("the server's TimescaleDB is the Community edition")
    server = describe(db)
    assert server.engine == "plain"
    assert "is the Apache edition" in str(server)
    assert {row.engine for row in state(db).applied} == {"neutral", "plain"}


def test_an_old_server_is_refused(db: PgConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Server("plain", 140011, None, None, available=False)
    monkeypatch.setattr("wellos.storage.migrations.describe", lambda _: old)
    with pytest.raises(ConfigurationError, match=r"plain PostgreSQL 14\.11 is too old"):
        state(db)
