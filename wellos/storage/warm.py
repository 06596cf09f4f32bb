"""Connections to the warm tier, and which engine it is: TimescaleDB Community or plain PostgreSQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import psycopg
from psycopg.conninfo import conninfo_to_dict

from wellos.errors import ConfigurationError, Problem, UnreachableError
from wellos.storage.sql import query

if TYPE_CHECKING:
    from pydantic import SecretStr

    from wellos.settings import Settings

__all__ = ["Engine", "PgConnection", "Server", "connect", "describe", "engine", "hide_password"]

Engine: TypeAlias = Literal["plain", "timescale"]
PgConnection: TypeAlias = psycopg.Connection[tuple[Any, ...]]

_SETTING = "WELLOS_DATABASE_URL"
_CONNECT_TIMEOUT_S = 4
"""For each address of the host: `localhost` has two, and the answer is due within ten seconds."""


def connect(settings: Settings, *, autocommit: bool = False) -> PgConnection:
    """Open a connection to the database of `settings`, its session in UTC.

    Raises ConfigurationError when no usable address is set, and UnreachableError, naming the setting and hiding the
    password, when the server does not answer within ten seconds or refuses us.
    """
    if settings.database_url is None:
        remedy = "Set it to postgresql://user:password@host:port/database, or start the embedded one with `wellos up`"
        raise ConfigurationError([Problem("no database is set and no embedded one is running", remedy, field=_SETTING)])
    url = settings.database_url.get_secret_value()
    address = hide_password(settings.database_url)
    try:
        connection = psycopg.connect(
            url,
            autocommit=True,
            connect_timeout=_CONNECT_TIMEOUT_S,
            fallback_application_name="wellos",
            client_encoding="UTF8",  # else the database's own, into which Python cannot put every text
        )
        connection.execute("SET TIME ZONE 'UTC'")
    except psycopg.OperationalError as error:
        raise UnreachableError(_SETTING, address, _reason(error, url)) from None
    connection.autocommit = autocommit
    return connection


def hide_password(url: SecretStr) -> str:
    """Return the address of a database URL without its password; ConfigurationError when it is not one."""
    try:
        parts = conninfo_to_dict(url.get_secret_value())
    except psycopg.ProgrammingError:
        # the message of libpq quotes what it could not read, which may be the password
        remedy = "Write postgresql://user:password@host:port/database, special characters percent-encoded"
        raise ConfigurationError([Problem("not a PostgreSQL address", remedy, field=_SETTING)]) from None
    user = f"{parts['user']}@" if parts.get("user") else ""
    host = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{user}{host}{port}/{parts.get('dbname') or ''}"


def _reason(error: psycopg.OperationalError, url: str) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    password = conninfo_to_dict(url).get("password")
    return reason.replace(str(password), "***") if password else reason


@dataclass(frozen=True, slots=True)
class Server:
    """What the server is: its engine for us, and what it calls itself."""

    engine: Engine
    postgres: int
    """Version number as PostgreSQL gives it, such as 150020."""
    timescale: str | None
    """Version of the extension in this database, None without."""
    licence: str | None
    """`timescale` for the Community edition, `apache` for the other."""
    available: bool
    """The extension can be created in this database."""

    def __str__(self) -> str:
        """One line for people."""
        postgres = f"PostgreSQL {self.postgres // 10000}.{self.postgres % 10000}"
        if self.timescale is None:
            return f"plain {postgres}"
        if self.engine == "timescale":
            return f"TimescaleDB {self.timescale} Community on {postgres}"
        return f"plain {postgres}: TimescaleDB {self.timescale} is the Apache edition, which lacks what is needed of it"


def describe(connection: PgConnection) -> Server:
    """Ask the server what it is. The Apache edition of TimescaleDB counts as plain PostgreSQL."""
    row = connection.execute(query("server")).fetchone()
    assert row is not None  # noqa: S101 - the query has no FROM
    postgres, timescale, licence, available = row
    kind: Engine = "timescale" if timescale is not None and licence == "timescale" else "plain"
    return Server(kind, int(postgres), timescale, licence, bool(available))


def engine(connection: PgConnection) -> Engine:
    """Return `timescale` where TimescaleDB Community is installed in this database, else `plain`."""
    return describe(connection).engine
