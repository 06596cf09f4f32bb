"""What the warm tier holds of a tenant's day, added up by PostgreSQL: the side that copies are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.aggregates import day_window
from wellos.storage.cold.checksum import pg_checksum

if TYPE_CHECKING:
    from datetime import date
    from uuid import UUID

    from wellos.storage.cold import Checksum
    from wellos.storage.warm import PgConnection

__all__ = ["warm_checksum"]


def warm_checksum(conn: PgConnection, tenant_id: UUID, day: date) -> Checksum:
    """Add up what `readings` holds of a tenant's tags, live and retired, on a UTC day, in the open transaction."""
    return pg_checksum(conn, tenant_id, *day_window(day))
