"""The leases in the database: who reads which connection, renewed and claimed by the database's clock alone."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from streaming.link import cut, have_us_watched, watch_peer
from wellos.clock import pace
from wellos.storage import warm
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["CHANNEL", "Census", "Lease", "LeaseTable", "Member", "Round", "fair_share", "frame_term"]

CHANNEL = "wellos_leases"
_TERMS = 65_535


def frame_term(term: int) -> int:
    """Return what a frame's header carries for a lease's term: 1 to 65535, over and over; 0 is no lease."""
    return (term - 1) % _TERMS + 1


@dataclass(frozen=True, slots=True)
class Member:
    """An instance alive."""

    spool_id: UUID
    limit: int | None
    """Most connections it may claim; None: any number."""
    held: int = 0
    """Connections it reads now."""


def fair_share(total: int, members: Sequence[Member], spool_id: UUID) -> int:
    """Return how many of `total` connections the member of that spool aims at.

    Equal shares, where members at their limit leave the rest to the others. What does not divide goes to those that
    hold most already, so that no connection moves without need. The shares come to `total`, or every limit is reached.
    """
    left, share = total, {}
    waiting = sorted(members, key=lambda item: (-item.held, item.spool_id))
    while full := [item for item in waiting if item.limit is not None and item.limit <= left // len(waiting)]:
        for item in full:
            share[item.spool_id] = item.limit or 0
            left -= share[item.spool_id]
        waiting = [item for item in waiting if item not in full]
    for number, item in enumerate(waiting):
        share[item.spool_id] = left // len(waiting) + (number < left % len(waiting))
    return share.get(spool_id, 0)


@dataclass(frozen=True, slots=True)
class Lease:
    """A connection that is ours."""

    term: int
    heard_us: int = 0
    """When its peer was last heard by the owner before us, 0 for never."""


@dataclass(frozen=True, slots=True)
class Census:
    """Connections and instances, as the database saw them."""

    connections: int
    """Enabled and in use."""
    free: int
    """Nobody reads them now."""
    next_expiry_s: float | None
    """Until the first lease of another instance runs out, unless it is renewed."""
    members: tuple[Member, ...]

    @property
    def room(self) -> bool:
        """Tell whether the instances together may claim every connection."""
        limits = [member.limit for member in self.members]
        return None in limits or sum(limit or 0 for limit in limits) >= self.connections


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of renewing and claiming came to."""

    kept: set[int]
    claimed: dict[int, Lease]
    census: Census
    share: int
    """How many connections this instance aims at."""


class LeaseTable:
    """One connection to the database. Blocking; all methods but `abort` are called from one thread.

    psycopg.Error or UnreachableError: nothing is known, the next call connects again.
    """

    def __init__(self, settings: Settings, spool_id: UUID, clock: Clock) -> None:
        """No I/O: the first call connects."""
        self._settings, self._spool_id, self._clock = settings, spool_id, clock
        self._ttl_s = settings.lease_s
        self._connection: PgConnection | None = None
        self._leave_alone_until = 0.0
        self._answered_at: float | None = None

    def round(self, held: Mapping[int, int], heard: Mapping[int, int]) -> Round:
        """Renew, count, and claim what is missing from our share."""
        first = self._connection is None
        kept = self.renew(held, heard)
        census = self.census()
        share = fair_share(census.connections, census.members, self._spool_id)
        claimed = self.claim(sorted(kept), share - len(kept)) if share > len(kept) else {}
        if first:
            self.tell()
        return Round(kept, claimed, census, share)

    def renew(self, held: Mapping[int, int], heard: Mapping[int, int]) -> set[int]:
        """Say that we live and renew the leases `held`, connection to term; return those that are still ours.

        `heard`: when each connection's peer was last heard, microseconds of platform time.
        """
        started = self._clock.monotonic()
        values = self._leases(held, heard)
        connection = self._connect()
        with _closing_on_error(self), connection.transaction():
            connection.execute(query("lease_join"), self._own())
            kept = {row[0] for row in connection.execute(query("lease_renew"), values)}
        self._note_contact(started)
        return kept

    def census(self) -> Census:
        """Return what there is to share and among whom."""
        connection = self._connect()
        with _closing_on_error(self):
            members = tuple(Member(*row) for row in connection.execute(query("lease_members")))
            row = connection.execute(query("lease_census"), {"spool_id": self._spool_id}).fetchone()
        total, free, next_s = row or (0, 0, None)
        return Census(total, free, next_s, members)

    def claim(self, held: Sequence[int], most: int) -> dict[int, Lease]:
        """Claim up to `most` connections that nobody reads, beside those `held`."""
        connection = self._connect()
        expired = self._clock.monotonic() >= self._leave_alone_until
        values = self._own() | {"held": list(held), "most": most, "expired": expired} | self._valid_until()
        with _closing_on_error(self):
            rows = connection.execute(query("lease_claim"), values).fetchall()
        return {connection_id: Lease(term, heard_us) for connection_id, term, heard_us in rows}

    def release(self, held: Mapping[int, int], heard: Mapping[int, int], *, leave: bool = False) -> None:
        """Give these leases up now and tell the others; with `leave` this instance stops."""
        connection = self._connect()
        values = self._leases(held, heard) | {"now_us": self._clock.micros()}
        with _closing_on_error(self), connection.transaction():
            connection.execute(query("lease_release"), values)
            if leave:
                connection.execute("DELETE FROM ingest_members WHERE spool_id = %s", (self._spool_id,))
            connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))

    def tell(self) -> None:
        """Have the other instances look at who shares the connections now."""
        connection = self._connect()
        with _closing_on_error(self):
            connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))

    def abort(self) -> None:
        """From another thread: cut the connection, so that a call that waits for a silent server fails now."""
        cut(self._connection)

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> PgConnection:
        if self._connection is None:
            connection = warm.connect(self._settings, autocommit=True)
            self._connection = connection
            with _closing_on_error(self):
                watch_peer(connection)
                have_us_watched(connection, self._ttl_s)
                connection.execute(f"SET statement_timeout = '{round(self._ttl_s * 400)}ms'")
                if self._answered_at is None:
                    row = connection.execute("SELECT clock_timestamp() - pg_postmaster_start_time()").fetchone()
                    up_s = row[0].total_seconds() if row else 0.0
                    self._leave_alone_until = self._clock.monotonic() + max(0.0, self._ttl_s - up_s)
        return self._connection

    def _note_contact(self, started: float) -> None:
        """After an outage every owner renews first: an expired lease is not a dead owner's until it had time to."""
        now = self._clock.monotonic()
        if self._answered_at is not None and now - self._answered_at > 0.8 * self._ttl_s:
            self._leave_alone_until = now + self._ttl_s
        self._answered_at = started

    def _own(self) -> dict[str, Any]:
        own = {"spool_id": self._spool_id, "ttl_s": self._ttl_s}
        return own | {"max_connections": self._settings.max_connections}

    def _valid_until(self) -> dict[str, int]:
        # The lease is for seconds of the machine, what is received is stamped with platform time.
        return {"valid_until_us": self._clock.micros() + round(self._ttl_s * pace(self._clock) * 1e6)}

    def _leases(self, held: Mapping[int, int], heard: Mapping[int, int]) -> dict[str, Any]:
        ids = sorted(held)
        found = {"connection_id": ids, "term": [held[key] for key in ids]}
        return self._own() | self._valid_until() | found | {"heard_us": [heard.get(key, 0) for key in ids]}


@contextmanager
def _closing_on_error(table: LeaseTable) -> Iterator[None]:
    try:
        yield
    except psycopg.Error:
        table.close()
        raise
