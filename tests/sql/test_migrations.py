"""Migrations: numbering, idempotence, the checksum, the lock, the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.storage.migrations import migrate, state

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection


def test_a_migrated_database_has_nothing_pending(db: PgConnection) -> None:
    assert state(db).pending == ()
    assert migrate(db) == ()
