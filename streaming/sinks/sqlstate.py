"""What an error of the database means for the work in hand."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

__all__ = ["Kind", "kind_of"]


class Kind(Enum):
    """What to do after an error."""

    RETRY = "retry"
    """A passing fault: connection, shutdown, resources, deadlock, lock."""
    CONFLICT = "conflict"
    """A reading of that (tag, time) is stored already: merge."""
    COMMITTED = "committed"
    """The ledger has that sequence already: skip it."""
    POISON = "poison"
    """Some row can never be stored: find it."""
    REFUSED = "refused"
    """A person must act (missing table or right, wrong password): say so, and try again slowly."""


_POISON = ("22", "23")
_REFUSED = ("28", "2F", "38", "39", "3D", "3F", "42", "0A", "F0", "XX")


def kind_of(error: psycopg.Error) -> Kind:
    """Classify by SQLSTATE; an error without one is a lost connection."""
    state = error.sqlstate or ""
    if state == "23505":
        ledger = (error.diag.table_name or "").startswith("ingest_ledger")
        return Kind.COMMITTED if ledger else Kind.CONFLICT
    if state.startswith(_POISON):
        return Kind.POISON
    if state.startswith(_REFUSED):
        return Kind.REFUSED
    return Kind.RETRY
