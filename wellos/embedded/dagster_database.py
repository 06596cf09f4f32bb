"""Dagster's own database, beside ours on the same server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import psycopg
from psycopg import sql

from wellos.errors import UnreachableError
from wellos.logs import hide_secrets

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection

__all__ = ["address_beside", "make_beside"]


def make_beside(connection: PgConnection, url: str) -> tuple[str, bool]:
    """Return the address of `<database>_dagster` on the server of `url`, and whether it had to be made.

    `connection` is one in autocommit mode to `url`. UnreachableError when the database is missing and may not be made.
    """
    # What the server says, as an address may leave the name to libpq.
    name = f"{connection.info.dbname}_dagster"
    address = address_beside(url, name)
    if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        return address, False
    try:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.InsufficientPrivilege as error:
        reason = f"there is no database {name} and this user may not create it"
        raise UnreachableError("WELLOS_DAGSTER_DATABASE_URL", hide_secrets(url), reason) from error
    return address, True


def address_beside(url: str, name: str) -> str:
    """Return `url` with another database, all else as it was."""
    head, _, query = url.partition("?")
    scheme, _, rest = head.partition("://")
    kept = "&".join(item for item in query.split("&") if not item.startswith("dbname="))
    return f"{scheme}://{rest.partition('/')[0]}/{quote(name, safe='')}{'?' if kept else ''}{kept}"
