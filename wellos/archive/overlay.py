"""The overlay of a dropped day, while the day comes back: which reading stays under each key, and what the ledger says.

Everything happens in one REPEATABLE READ transaction: another's reading under a key that comes back makes it fail, to
be tried again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np

from wellos.aggregates import day_window
from wellos.archive.warm_side import warm_checksum
from wellos.clock import from_micros, to_micros
from wellos.storage.cold import Checksum
from wellos.storage.cold.checksum import checksum
from wellos.storage.copy import read_readings
from wellos.storage.merge import Outcome, judge, revise
from wellos.storage.sql import query

if TYPE_CHECKING:
    from datetime import date, datetime

    import psycopg

    from wellos.readings import Readings

__all__ = ["Overlay"]

_NAMESPACE = UUID("6d0b2f1e-5a0f-5b52-9a35-726573746f72")


class Overlay:
    """What `readings` holds of a day that is dropped, as one transaction brings it back, tenant by tenant."""

    def __init__(self, cursor: psycopg.Cursor[Any], day: date) -> None:
        """Look at it in the transaction of the cursor."""
        self._cursor, self._day = cursor, day
        self._window = [to_micros(moment) for moment in day_window(day)]
        self._spool_id = uuid5(_NAMESPACE, day.isoformat())
        self._seqs: dict[int, int] = {}
        self._counts: dict[int, Counter[Outcome]] = defaultdict(Counter)
        self._connections: dict[int, int] = {}
        self._here = False
        self.expected = Checksum()
        """What the warm tier has to hold of the tenant, after what came back so far."""
        self.copied = 0
        self.rows = 0
        """Readings of the overlay, of the tenants so far."""

    repeated = property(lambda self: self._count(Outcome.REPEATED))
    replaced = property(lambda self: self._count(Outcome.REPLACED))
    superseded = property(lambda self: self._count(Outcome.SUPERSEDED))

    def _count(self, outcome: Outcome) -> int:
        return sum(counts[outcome] for counts in self._counts.values())

    def turn_to(self, tenant_id: UUID) -> None:
        """Go on with a tenant."""
        self.expected = warm_checksum(self._cursor.connection, tenant_id, self._day)
        self.rows += self.expected.rows
        self._here = self.expected.rows > 0
        if self._here:
            self._connections = dict(self._cursor.execute(query("restore_tags"), {"tenant_id": tenant_id}).fetchall())

    def meet(self, piece: Readings) -> Readings:
        """Return what is to be copied of a piece of the archive, once the overlay made room for it."""
        fresh = piece if not self._here else self._merge(piece)
        self.expected += checksum(fresh)
        self.copied += len(fresh)
        return fresh

    def _merge(self, piece: Readings) -> Readings:
        tags = np.unique(piece["tag_id"]).tolist()
        came = read_readings(self._cursor.connection, tags, *self._window)
        judged = judge(came, piece)
        met = judged.outcome != Outcome.STORED
        if not met.any():
            return piece
        came, outcome, against = came[met], judged.outcome[met], judged.against[met]
        lost, won = outcome == Outcome.SUPERSEDED, outcome == Outcome.REPLACED
        seqs = self._booked(came, outcome)
        self._take_out(came[lost])
        if lost.any():
            revise(self._cursor, came[lost], Outcome.SUPERSEDED, self._spool_id, seqs[lost])
        if won.any():
            revise(self._cursor, against[won], Outcome.REPLACED, self._spool_id, seqs[won])
        return piece[~judge(piece, came[~lost]).known]

    def _booked(
        self, came: Readings, outcome: np.ndarray[Any, np.dtype[np.uint8]]
    ) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Count what became of these readings, and return the sequence of the ledger entry of each."""
        connections = np.array([self._connections[tag] for tag in came["tag_id"].tolist()], np.int64)
        for connection in np.unique(connections).tolist():
            if connection not in self._seqs:
                self._seqs[connection] = self._next_seq() + len(self._seqs)
            numbers = np.bincount(outcome[connections == connection], minlength=len(Outcome)).tolist()
            self._counts[connection].update({one: numbers[one] for one in Outcome})
        known = np.array(sorted(self._seqs))
        return np.array([self._seqs[one] for one in known.tolist()], np.int64)[np.searchsorted(known, connections)]

    def _next_seq(self) -> int:
        row = self._cursor.execute(query("quarantine_next_seq"), {"spool_id": self._spool_id}).fetchone()
        return int(row[0]) if row else 1

    def _take_out(self, lost: Readings) -> None:
        if not len(lost):
            return
        since, until = day_window(self._day)
        keys = {"tags": lost["tag_id"].tolist(), "times": [from_micros(micros) for micros in lost["time"].tolist()]}
        self._cursor.execute(query("restore_delete"), keys | {"since": since, "until": until})
        gone = checksum(lost)
        left = self.expected
        self.expected = Checksum(left.rows - gone.rows, left.a - gone.a, left.b - gone.b)

    def book(self, now: datetime) -> None:
        """Write the ledger entries: what was counted as stored when it came met a reading that the archive had."""
        connections = sorted(self._seqs, key=lambda one: self._seqs[one])
        counts = [self._counts[one] for one in connections]
        columns: dict[str, Any] = {one.name.lower(): [count[one] for count in counts] for one in Outcome}
        columns["stored"] = [-sum(count.values()) for count in counts]
        for name in ("received", "quarantined", "duplicates", "shed", "rows", "poisoned"):
            columns[name] = [0] * len(counts)
        columns |= {"seq": [self._seqs[one] for one in connections], "connection_id": connections}
        columns |= {"received_at": [now] * len(counts), "spool_id": self._spool_id, "days": []}
        if counts:
            self._cursor.execute(query("ingest_ledger_add"), columns)
