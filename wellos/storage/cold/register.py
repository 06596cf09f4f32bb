"""What the database knows of a cold store: the id it goes by, and the tenants of whom it has receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import psycopg

from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.cold import StoreName

__all__ = ["Register"]


class Register:
    """Asks the database of the settings, whenever it has to; where none is set there are no receipts."""

    def __init__(self, settings: Settings, store: StoreName) -> None:
        self._settings, self._store = settings, store
        self._id: str | None = None

    def id(self) -> str | None:
        """Return the id of the store, None when this platform never wrote to it. It never changes."""
        if self._id is None:
            found = self._ask("SELECT id::text FROM cold_stores WHERE store = %(store)s")
            self._id = found[0] if found else None
        return self._id

    def claim(self) -> str:
        """Return the id, given now where there was none."""
        with connect(self._settings, autocommit=True) as conn:
            row = conn.execute(query("cold_store_claim"), {"store": self._store}).fetchone()
        assert row is not None  # noqa: S101 - RETURNING of one row
        self._id = str(row[0])
        return self._id

    def tenants(self) -> list[str]:
        """Return the slugs of tenants of whom a copy was ever made in this store."""
        return self._ask(query("cold_store_tenants"))

    def _ask(self, sql: LiteralString) -> list[str]:
        if self._settings.database_url is None:
            return []
        with connect(self._settings, autocommit=True) as conn:
            try:
                return [row[0] for row in conn.execute(sql, {"store": self._store})]
            except psycopg.errors.UndefinedTable:  # not migrated: nothing was ever archived
                return []
