"""What an error of the database means for the work in hand, by its SQLSTATE.

After Appendix A of PostgreSQL and the codes of TimescaleDB (TS...). No error is fatal: whatever the database says,
what was acknowledged stays in the spool, and waiting loses nothing. A code that is not known is told to a person.
"""

from __future__ import annotations

from enum import Enum

import psycopg

__all__ = ["Kind", "kind_of"]


class Kind(Enum):
    """What to do after an error."""

    RETRY = "retry"
    """A passing fault: connection, shutdown, failover, resources, deadlock, lock."""
    CONFLICT = "conflict"
    """A reading of that (tag, time) is stored already: merge."""
    COMMITTED = "committed"
    """The ledger has that sequence already: skip it."""
    POISON = "poison"
    """Some row can never be stored: find it."""
    REFUSED = "refused"
    """A person must act (missing table or right, wrong password): say so, and try again slowly."""


_CLASSES = {
    "08": Kind.RETRY,  # connection
    "22": Kind.POISON,  # data: out of range, not in the database's encoding
    "23": Kind.POISON,  # a constraint; 23505 is told apart below
    "25": Kind.RETRY,  # transaction state: a timeout ended it, a failover left us on a read-only server
    "40": Kind.RETRY,  # rolled back: serialization failure, deadlock
    "44": Kind.POISON,  # the check option of a view in place of the table
    "53": Kind.RETRY,  # resources: disk full, memory, connections
    "57": Kind.RETRY,  # an operator: shutdown, cancelled, starting up
    "72": Kind.RETRY,  # the snapshot is too old
}
_STATES = {
    "53400": Kind.REFUSED,  # a configured limit: it stands until somebody changes it
    "55006": Kind.RETRY,  # an object is in use
    "55P03": Kind.RETRY,  # a lock was not to be had in time
    "57P04": Kind.REFUSED,  # the database was dropped
    "TS003": Kind.RETRY,  # a chunk was dropped just now
    "TS502": Kind.RETRY,  # communication inside TimescaleDB
    "TS503": Kind.RETRY,  # two sessions made one chunk
}


def kind_of(error: psycopg.Error) -> Kind:
    """Classify an error. Without SQLSTATE it came from this side: a lost connection, or data that cannot be sent."""
    state = error.sqlstate
    if state is None:
        return Kind.POISON if isinstance(error, psycopg.DataError) else Kind.RETRY
    if state == "23505":
        ledger = (error.diag.table_name or "").startswith("ingest_ledger")
        return Kind.COMMITTED if ledger else Kind.CONFLICT
    return _STATES.get(state) or _CLASSES.get(state[:2], Kind.REFUSED)
