"""Databases for tests: fresh ones from a migrated template, on the given server or on one embedded for the session."""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wellos.embedded.postgres import running_postgres
from wellos.settings import load_settings
from wellos.storage.migrations import migrate
from wellos.storage.warm import connect, engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import Engine, PgConnection


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of the administrator's database on the server of WELLOS_TEST_DATABASE_URL, else of an embedded one."""
    given = os.environ.get("WELLOS_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with running_postgres(tmp_path_factory.mktemp("postgres")) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            # nothing here outlives the session, and a fresh database for every test is mostly waiting for the disk
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server.url


@pytest.fixture(scope="session")
def template_database(database_server: str) -> Iterator[str]:
    """Name of a migrated database that every other is copied from."""
    with fresh_database(database_server) as url:
        migrate(load_settings(database_url=url))
        with psycopg.connect(url, autocommit=True) as connection:
            if engine(connection) == "timescale":
                # a policy that runs in the middle of a test would refresh what the test has yet to
                connection.execute("SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs")
        name = _database_of(url)
        _close_to_others(database_server, name)
        yield name


@pytest.fixture
def database_url(database_server: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database of this test's own."""
    with fresh_database(database_server, template_database) as url:
        yield url


@pytest.fixture(scope="module")
def module_database_url(database_server: str, template_database: str) -> Iterator[str]:
    """URL of a migrated database that the tests of a module share."""
    with fresh_database(database_server, template_database) as url:
        yield url


@pytest.fixture
def empty_database_url(database_server: str) -> Iterator[str]:
    """URL of a database of this test's own in which nothing was migrated."""
    with fresh_database(database_server) as url:
        yield url


@pytest.fixture
def database_settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings that name this test's database and a folder of its own."""
    return load_settings(database_url=database_url, data_dir=tmp_path)


@pytest.fixture
def db(database_url: str) -> Iterator[PgConnection]:
    """Autocommit connection to this test's database."""
    with connect(load_settings(database_url=database_url), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def database_engine(database_server: str, template_database: str) -> Engine:
    """Engine of the server under test."""
    with fresh_database(database_server, template_database) as url, psycopg.connect(url) as connection:
        return engine(connection)


@contextmanager
def fresh_database(server: str, template: str | None = None) -> Iterator[str]:
    name = f"wellos_test_{os.getpid()}_{secrets.token_hex(4)}"
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        create += sql.SQL(" TEMPLATE {}").format(sql.Identifier(template))
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(create)
    try:
        yield _url_of(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _close_to_others(server: str, name: str) -> None:
    """Let nobody connect: a database with a session in it, such as TimescaleDB's scheduler, cannot be copied."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        gone = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = %s"
        deadline = time.monotonic() + 90
        while connection.execute(gone, (name,)).fetchone() != (0,):
            assert time.monotonic() < deadline, f"sessions remain in {name}"
            time.sleep(0.05)


def _database_of(url: str) -> str:
    return str(conninfo_to_dict(url)["dbname"])


def _url_of(server: str, name: str) -> str:
    parts = conninfo_to_dict(server)
    user = f"{parts.get('user') or ''}{':' + str(parts['password']) if parts.get('password') else ''}"
    return f"postgresql://{user}@{parts.get('host', 'localhost')}:{parts.get('port', 5432)}/{name}"
