"""Rows that tests of the database start from: a tenant with a well, a connection and tags, and readings of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wellos.storage.warm import PgConnection

__all__ = ["add_readings", "add_tags", "at"]

_TAGS = """
WITH tenant AS (INSERT INTO tenants (slug, name) VALUES (%(slug)s, 'Acme') RETURNING tenant_id),
well AS (
    INSERT INTO wells (tenant_id, name, lift_type) SELECT tenant_id, 'PB-001', 'esp' FROM tenant
    RETURNING tenant_id, well_id
),
connection AS (
    INSERT INTO scada_connections (tenant_id, name, protocol, config)
    SELECT tenant_id, 'plc', 'modbus', '{}' FROM tenant
    RETURNING connection_id
)
INSERT INTO tags (tenant_id, well_id, connection_id, name, address, unit)
SELECT tenant_id, well_id, connection_id, name, place::text, 'psi'
FROM well, connection, unnest(%(names)s::text[]) WITH ORDINALITY AS t(name, place)
RETURNING tag_id
"""


def add_tags(
    connection: PgConnection, count: int = 1, slug: str = "acme", names: Sequence[str] | None = None
) -> list[int]:
    """Register a tenant with one well, one Modbus connection and `count` tags, or of `names`; return their numbers."""
    names = [f"tag_{place}" for place in range(1, count + 1)] if names is None else list(names)
    return sorted(row[0] for row in connection.execute(_TAGS, {"slug": slug, "names": names}))


def at(text: str) -> datetime:
    """Return the UTC time that `2026-11-01 12:00` or the like names."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def add_readings(connection: PgConnection, rows: Iterable[tuple[datetime, int, float, int]]) -> None:
    """Copy (time, tag_id, value, quality) rows into `readings`."""
    with connection.cursor().copy("COPY readings (time, tag_id, value, quality) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
