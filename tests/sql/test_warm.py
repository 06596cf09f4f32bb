"""Connections: what is wrong with an address is one clear error, and the password is in none."""

from __future__ import annotations

import re
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from wellos.errors import ConfigurationError, UnreachableError
from wellos.settings import Settings, load_settings
from wellos.storage.sql import query, sql_folder
from wellos.storage.warm import connect, describe, hide_password

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def _settings(url: str) -> Settings:
    return Settings.model_construct(database_url=SecretStr(url))


def test_a_session_is_in_utc(database_url: str) -> None:
    with connect(load_settings(database_url=database_url)) as connection:
        assert connection.execute("SHOW timezone").fetchone() == ("UTC",)
        assert not connection.autocommit


def test_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WELLOS_DATABASE_URL", raising=False)
    with pytest.raises(ConfigurationError, match="WELLOS_DATABASE_URL: no database is set"):
        connect(Settings.model_construct(database_url=None))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:s3cret@127.0.0.1:1/nowhere",
        "postgresql://user:s3cret@no-such-host.invalid/nowhere",
        "postgresql://user:s3cret@127.0.0.1:port/nowhere",
        "postgresql://user:s3cret@127.0.0.1:{silent}/nowhere",
    ],
)
def test_an_unreachable_server(url: str, silent_port: int) -> None:
    with pytest.raises(UnreachableError) as caught:
        connect(_settings(url.format(silent=silent_port)))
    message = str(caught.value)
    assert message.startswith("WELLOS_DATABASE_URL: cannot use postgresql://user@")
    assert "/nowhere" in message
    assert "s3cret" not in message
    assert caught.value.__cause__ is None


def test_a_wrong_password_or_database(database_url: str) -> None:
    parts = conninfo_to_dict(database_url)
    url = f"postgresql://{parts['user']}:s3cret@{parts['host']}:{parts['port']}/no_such_database"
    with pytest.raises(UnreachableError) as caught:
        connect(_settings(url))
    assert "s3cret" not in repr(caught.value)


@pytest.mark.parametrize("url", ["postgresql://user:s3cret@[::1/db", "s3cret", "postgresql://a:s3cret%zz@b/c"])
def test_not_an_address(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(_settings(url))
    assert "WELLOS_DATABASE_URL: not a PostgreSQL address" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p@h:1/d", "postgresql://u@h:1/d"),
        ("postgresql://h/d?password=p", "postgresql://h/d"),
        ("host=h user=u password=p dbname=d", "postgresql://u@h/d"),
        ("postgresql:///d", "postgresql://localhost/d"),
    ],
)
def test_the_address_shown_has_no_password(url: str, shown: str) -> None:
    assert hide_password(SecretStr(url)) == shown


def test_the_server_says_what_it_is(database_url: str) -> None:
    with connect(load_settings(database_url=database_url)) as connection:
        server = describe(connection)
        version = connection.info.server_version
    assert server.postgres == version
    assert f"PostgreSQL {version // 10000}." in str(server)
    assert (server.engine == "timescale") == (server.licence == "timescale")


def test_every_query_is_found_by_its_name() -> None:
    names = sorted(path.stem for path in (sql_folder() / "queries").glob("*.sql"))
    assert "server" in names
    assert all(query(name).strip() for name in names)


def test_a_query_that_is_not_there() -> None:
    with pytest.raises(FileNotFoundError):
        query("no_such_query")


@pytest.mark.parametrize("reason", ["no answer", "no answer.", "Is the server running there?"])
def test_what_was_heard_ends_in_one_stop(reason: str) -> None:
    said = str(UnreachableError("WELLOS_DATABASE_URL", "postgresql://here", reason))
    assert re.search(r"\w[.?] Correct WELLOS_DATABASE_URL", said)
