"""The servers that benchmarks run against: a named one, else an embedded one; always in a database of its own."""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from wellos.embedded.postgres import running_postgres
from wellos.settings import load_settings
from wellos.storage import warm
from wellos.storage.migrations import migrate

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

__all__ = ["add_database_option", "database", "versions"]


def add_database_option(parser: argparse.ArgumentParser) -> None:
    """Add `--database-url`; WELLOS_DATABASE_URL is the default."""
    parser.add_argument(
        "--database-url",
        default=os.environ.get("WELLOS_DATABASE_URL"),
        help="server to make a throw-away database on (default: WELLOS_DATABASE_URL, else an embedded server)",
    )


@contextmanager
def database(server_url: str | None, *, keep: bool = False) -> Iterator[str]:
    """Make a migrated database for this run, with TimescaleDB where the server has it, and drop it afterwards.

    With `keep` it stays, and its address is told.
    """
    if server_url is not None:
        with _fresh(server_url, keep=keep) as url:
            yield url
        return
    with (
        tempfile.TemporaryDirectory() as folder,
        running_postgres(Path(folder) / "postgres") as server,
        _fresh(server.url) as url,
    ):
        yield url


@contextmanager
def _fresh(server_url: str, *, keep: bool = False) -> Iterator[str]:
    name = f"wellos_benchmark_{secrets.token_hex(4)}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        parts = conninfo_to_dict(server_url)
        host, port, user = parts.get("host", "127.0.0.1"), parts.get("port", 5432), parts.get("user", "postgres")
        password = f":{quote(str(parts['password']), safe='')}" if parts.get("password") else ""
        url = f"postgresql://{user}{password}@{host}:{port}/{name}"
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            migrate(load_settings(database_url=url))
            _silence(url)
            yield url
        finally:
            if keep:
                print(f"kept: {warm.hide_password(SecretStr(url))}", file=sys.stderr)
            else:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _silence(url: str) -> None:
    """Have no policy of TimescaleDB work in the middle of one of the halves that are compared."""
    with warm.connect(load_settings(database_url=url), autocommit=True) as connection:
        if warm.engine(connection) == "timescale":
            connection.execute("SELECT alter_job(job_id, scheduled => false) FROM timescaledb_information.jobs")


def versions(url: str) -> str:
    """Return what the database server calls itself."""
    with warm.connect(load_settings(database_url=url)) as connection:
        return str(warm.describe(connection))
