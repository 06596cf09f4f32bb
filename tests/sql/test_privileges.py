"""What a role without ownership can and cannot do: write readings, read views, nothing else."""

from __future__ import annotations

import secrets
from datetime import date, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from tests.seed import add_readings, add_tags, at

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.storage.warm import Engine, PgConnection

NOON = at("2026-11-01 12:00")


@pytest.fixture
def role(db: PgConnection) -> Iterator[sql.Identifier]:
    """A role without any privilege, taken on by `db` when the test says so."""
    name = sql.Identifier(f"wellos_test_{secrets.token_hex(4)}")
    db.execute(sql.SQL("CREATE ROLE {}").format(name))
    yield name
    db.execute("RESET ROLE")
    db.execute(sql.SQL("DROP OWNED BY {}").format(name))
    db.execute(sql.SQL("DROP ROLE {}").format(name))


def _grant(db: PgConnection, what: str, role: sql.Identifier) -> None:
    db.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(what), role))


def _become(db: PgConnection, role: sql.Identifier) -> None:
    db.execute(sql.SQL("SET ROLE {}").format(role))


def test_a_writer_needs_insert_and_the_partitions(db: PgConnection, role: sql.Identifier) -> None:
    add_readings(db, [(NOON, 1, 1.0, 2), (NOON + timedelta(days=3), 1, 1.0, 2)])
    db.execute("CALL refresh_aggregates()")
    _grant(db, "INSERT ON readings", role)
    _grant(db, "EXECUTE ON FUNCTION ensure_readings_partitions", role)
    _become(db, role)
    db.execute("SELECT ensure_readings_partitions(%s)", ([date(2026, 11, 2), date(2026, 11, 9)],))
    add_readings(db, [(NOON + timedelta(days=day), 2, 1.0, 2) for day in (1, 8)])
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute("SELECT * FROM readings")
    db.execute("RESET ROLE")
    db.execute("CALL refresh_aggregates()")
    assert db.execute("SELECT sum(n) FROM readings_1day").fetchone() == (4,)


def test_a_reader_of_the_views_needs_no_table(db: PgConnection, role: sql.Identifier) -> None:
    (tag,) = add_tags(db)
    add_readings(db, [(NOON, tag, 1.0, 2), (NOON + timedelta(days=3), tag, 1.0, 2)])
    db.execute("CALL refresh_aggregates()")
    views = ["scada_readings", *(f"scada_readings_{width}" for width in ("1min", "5min", "1hour", "1day"))]
    for view in views:
        _grant(db, f"SELECT ON {view}", role)
    _become(db, role)
    assert [db.execute(f"SELECT count(*) FROM {view}").fetchone() for view in views] == [(2,)] * 5
    for table in ("readings", "readings_1min", "tags", "scada_connections"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            db.execute(f"SELECT * FROM {table}")


def test_a_role_may_be_let_refresh(db: PgConnection, role: sql.Identifier, database_engine: Engine) -> None:
    if database_engine == "timescale":
        pytest.skip("TimescaleDB lets only the owner of a continuous aggregate refresh it")
    add_readings(db, [(NOON, 1, 1.0, 2), (NOON + timedelta(days=3), 1, 1.0, 2)])
    for function in ("aggregate_raise_threshold", "aggregate_materialise", "ensure_readings_partitions"):
        _grant(db, f"EXECUTE ON FUNCTION {function}", role)
    _become(db, role)
    db.execute("CALL refresh_aggregates()")
    db.execute("RESET ROLE")
    assert db.execute("SELECT count(watermark) FROM aggregate_status").fetchone() == (6,)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT ensure_readings_partitions(ARRAY['2026-11-01'::date])",
        "SELECT set_storage_policies('1 day', '1 day', '{}')",
        "SELECT * FROM drop_old_aggregates('1 day')",
        "CALL refresh_aggregates()",
        "INSERT INTO readings VALUES (now(), 1, 1, 2, 0)",
        "DELETE FROM schema_migrations",
    ],
)
def test_a_stranger_may_do_nothing(db: PgConnection, role: sql.Identifier, statement: str) -> None:
    add_readings(db, [(NOON, 1, 1.0, 2), (NOON + timedelta(days=3), 1, 1.0, 2)])
    _become(db, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        db.execute(statement)
