"""The PostgreSQL sink: readings, ledger, quarantine and gaps of many frames in one transaction, each exactly once.

The ledger row of a frame is written in the transaction that stores its readings. When the answer to a COMMIT is lost,
the next attempt asks the ledger which frames are in and skips them. Normally the readings go in by COPY; after a key
that is stored already the batch, and those after it while that goes on, are looked up first and only what conflicts is
merged (`wellos.storage.merge`). A row that the database refuses is found by bisection and kept in quarantine. All
methods but `abort` are called from one thread.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from streaming.link import cut, have_us_watched, watch_peer
from streaming.sinks import ledger, rows
from streaming.sinks.conflicts import Conflicts, Way
from streaming.sinks.fence import fenced
from streaming.sinks.sqlstate import Kind, kind_of
from wellos.errors import FatalError, RetryableError, UnreachableError
from wellos.spool_format import Frame, Lost
from wellos.storage import warm
from wellos.storage.changes import days_of
from wellos.storage.merge import begin_merge
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from numpy.typing import NDArray

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.spool_format import Item
    from wellos.storage.merge import Judged
    from wellos.storage.warm import PgConnection

__all__ = ["Committed", "RefusedError", "UnavailableError", "WarmSink"]

_DAY_US = 86_400_000_000
_FIRST_DAY, _LAST_DAY = (date.min - date(1970, 1, 1)).days, (date.max - date(1970, 1, 1)).days
_MOST_NEW_DAYS = 32


class UnavailableError(RetryableError):
    """The database cannot be used now; the same frames may be committed later."""


class RefusedError(RetryableError):
    """The database refuses what a person must put right; the same frames may be committed after that."""


@dataclass(slots=True)
class Committed:
    """What one call stored, for the metrics; the truth is in the ledger."""

    frames: int = 0
    skipped: int = 0
    lost: int = 0
    stored: int = 0
    repeated: int = 0
    replaced: int = 0
    superseded: int = 0
    poisoned: int = 0

    def __add__(self, other: Committed) -> Committed:
        return Committed(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


class WarmSink:
    """One connection to the warm tier, for the frames of one spool."""

    def __init__(self, settings: Settings, spool_id: UUID, clock: Clock) -> None:
        """No I/O: the first commit connects."""
        self._settings, self._spool_id, self._clock = settings, spool_id, clock
        self._connection: PgConnection | None = None
        self._days: set[int] = set()
        self._conflicts = Conflicts()
        self._unsure = True
        """The ledger may hold some of the next frames: after a start, and after every error."""
        self._highest = 0
        """The last sequence in the ledger when it was looked through; behind a hole, frames up to it may be in."""

    def commit(self, items: Sequence[Item]) -> Committed:
        """Store these items and return what became of them.

        UnavailableError or RefusedError: some may be in, call again with the same ones. FatalError: the ledger has
        other frames of the same sequences, nothing was stored.
        """
        unseen: Sequence[Item] = items
        with self._told():
            connection = self._connection or self._connect()
            if self._unsure or _span(items[0])[0] <= self._highest:
                unseen = self._without_committed(connection, items)
            self._ensure_days(connection, unseen)
            done = self._commit(connection, unseen) if unseen else Committed()
        self._unsure = False
        done.skipped = len(items) - len(unseen)
        return done

    @property
    def connected(self) -> bool:
        """There is a connection, as far as this side knows."""
        return self._connection is not None

    def committed_up_to(self, first: int, last: int) -> int:
        """Return the last sequence up to `last` that the ledger has with all before it, without a hole from `first` on.

        Sequences before the ledger's own first one were deleted with age and count as committed. Where the ledger has
        no row of this spool, the answer is 0. Connects where there is no connection; errors as of `commit`.
        """
        with self._told():
            connection = self._connection or self._connect()
            values = {"spool_id": self._spool_id, "first": first, "last": last}
            found = connection.execute(query("ingest_ledger_reach"), values).fetchone()
        reach, self._highest = found or (0, 0)
        return int(reach)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Turn what the database says into the two errors of this class, and forget the connection."""
        try:
            yield
        except psycopg.Error as error:
            self._unsure = True
            self.close()
            told = f"{error.sqlstate or 'connection lost'}: {' '.join(str(error).split())}"
            stands = kind_of(error) in {Kind.REFUSED, Kind.POISON}  # poison that no part of a frame explains
            raise (RefusedError if stands else UnavailableError)(told) from error
        except UnreachableError as error:
            raise UnavailableError(error.reason) from error

    def abort(self) -> None:
        """From another thread: cut the connection, so that a call that waits for a silent server fails now."""
        cut(self._connection)

    def close(self) -> None:
        """Close the connection; the next commit opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> PgConnection:
        connection = warm.connect(self._settings, autocommit=True)
        self._connection = connection
        self._days.clear()  # this may be another server, one that fell behind
        watch_peer(connection)
        have_us_watched(connection, self._settings.lease_s)
        # What is committed must survive a crash of the server, whatever its default says.
        connection.execute("SET synchronous_commit = on")
        connection.execute("SET client_min_messages = warning")
        connection.execute("SET lock_timeout = '30s'")
        # TimescaleDB would refuse a batch for compressed chunks that it has to unpack more than this of; 0: no limit.
        connection.execute("SET timescaledb.max_tuples_decompressed_per_dml_transaction = 0")
        return connection

    def _without_committed(self, connection: PgConnection, items: Sequence[Item]) -> list[Item]:
        spans = [_span(item) for item in items]
        found = connection.execute(
            query("ingest_ledger_seen"),
            {"spool_id": self._spool_id, "first_seq": spans[0][0], "last_seq": spans[-1][1]},
        )
        seen = {seq: tuple(told) for seq, *told in found}
        for item in items:
            if isinstance(item, Frame) and seen.get(item.header.seq, same := ledger.identity(item.header)) != same:
                raise FatalError(self._put_back(item.header.seq))
        return [
            i for i, (first, last) in zip(items, spans, strict=True) if not seen.keys() >= set(range(first, last + 1))
        ]

    def _put_back(self, seq: int) -> str:
        folder = self._settings.data_dir / "spool"
        return (
            f"{folder}: the ledger has another frame {seq} of spool {self._spool_id}: this folder was put back to an "
            f"older copy, and its next frames would be taken for stored. Move {folder / 'id'} aside and start again: "
            "what the folder holds then gets a new id; what is stored already merges, and what goes to quarantine as "
            "fenced is stored by `wellos quarantine retry`"
        )

    def _ensure_days(self, connection: PgConnection, items: Sequence[Item]) -> None:
        """Make the partitions of days not seen before; a batch of very many days leaves some to the default one."""
        batches = [item.readings["time"] for item in items if isinstance(item, Frame)]
        if not batches:
            return
        days = _days(np.concatenate(batches)) - self._days
        new = sorted(day for day in days if _FIRST_DAY <= day <= _LAST_DAY)[-_MOST_NEW_DAYS:]
        if new:
            dates = [date.fromordinal(date(1970, 1, 1).toordinal() + day) for day in new]
            connection.execute("SELECT ensure_readings_partitions(%s::date[])", (dates,))
            self._days.update(new)

    def _commit(self, connection: PgConnection, items: Sequence[Item], way: Way | None = None) -> Committed:
        way = way or self._conflicts.way
        try:
            return self._transact(connection, items, way)
        except psycopg.Error as error:
            kind = kind_of(error)
            if kind is Kind.CONFLICT and way is not Way.ALL:
                return self._commit(connection, items, Way.ALL)
            if kind is not Kind.POISON:
                raise
        if len(items) == 1:
            return self._transact(connection, items, Way.ALL, salvaging=True)
        half = len(items) // 2
        return self._commit(connection, items[:half], way) + self._commit(connection, items[half:], way)

    def _transact(
        self, connection: PgConnection, items: Sequence[Item], way: Way, *, salvaging: bool = False
    ) -> Committed:
        frames = [item for item in items if isinstance(item, Frame)]
        lost = [item for item in items if isinstance(item, Lost)]
        judged: Judged | None = None
        with connection.transaction(), connection.cursor() as cursor:
            if way is not Way.COPY:
                begin_merge(cursor)
            stale = fenced(cursor, self._spool_id, frames)
            valid = [frame for frame in frames if frame.header.seq not in stale]
            readings = rows.readings_of(valid)
            if salvaging:
                found = [rows.salvage(cursor, self._spool_id, frame) for frame in valid]
            elif way is Way.COPY:
                found = rows.copy(cursor, valid, readings)
            else:
                looked_up = self._conflicts.suspects(readings) if way is Way.SUSPECTS else None
                found, judged = rows.merge(cursor, self._spool_id, valid, readings, looked_up)
            of_valid = iter(found)
            counts = [rows.fence(frame) if frame.header.seq in stale else next(of_valid) for frame in frames]
            if frames:
                changed = days_of(readings if judged is None else readings[judged.winner])
                ledger.write_frames(cursor, self._spool_id, frames, counts, changed, salvaging=salvaging)
            for item in lost:
                ledger.write_lost(cursor, self._spool_id, item, self._clock.now())
        if not salvaging:  # what was refused may have any time
            self._conflicts.learn(readings, judged)
        return Committed(
            frames=len(frames),
            lost=sum(item.last_seq - item.first_seq + 1 for item in lost),
            stored=sum(count.stored for count in counts),
            repeated=sum(count.repeated for count in counts),
            replaced=sum(count.replaced for count in counts),
            superseded=sum(count.superseded for count in counts),
            poisoned=sum(len(count.poisoned) for count in counts),
        )


def _days(times: NDArray[np.int64]) -> set[int]:
    first, last = (int(times.min()) // _DAY_US, int(times.max()) // _DAY_US) if len(times) else (0, -1)
    return {first} if first == last else set(np.unique(times // _DAY_US).tolist())


def _span(item: Item) -> tuple[int, int]:
    return (item.first_seq, item.last_seq) if isinstance(item, Lost) else (item.header.seq, item.header.seq)
