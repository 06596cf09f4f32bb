"""What runs badly in the database: slow queries, and indexes that nobody uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import class_row

from wellos.health.report import Slow
from wellos.storage.sql import query
from wellos.tiers.warm import UnusedIndex, unused_indexes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.storage.warm import PgConnection

__all__ = ["Findings", "findings"]

_SLOW_S = 0.5
"""Mean of a statement above which it is slow."""
_LONG_S = 5.0
"""How long a statement may be running before it is told, where means are not known."""


@dataclass(frozen=True, slots=True)
class Findings:
    """What the database tells of itself."""

    slow: Sequence[Slow]
    slow_from: str
    unused: Sequence[UnusedIndex]


def findings(conn: PgConnection) -> Findings:
    """Ask for slow statements, or where nobody keeps count for those that run long now; and for unused indexes."""
    counted = bool(conn.execute(query("has_statements")).fetchall()[0][0])
    name, least_s = ("slow_statements", _SLOW_S) if counted else ("long_running", _LONG_S)
    source = (
        f"pg_stat_statements: a mean of {_SLOW_S:g} s or more"
        if counted
        else f"pg_stat_activity: running for {_LONG_S:g} s or more now (pg_stat_statements is not installed)"
    )
    with conn.cursor(row_factory=class_row(Slow)) as cursor:
        slow = cursor.execute(query(name), {"least_s": least_s}).fetchall()
    return Findings(slow, source, unused_indexes(conn))
