"""What the database says of ingest: newest readings, instances, connections, spools, gaps and quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from psycopg.rows import class_row, scalar_row

from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg

__all__ = [
    "ConnectionState",
    "Gaps",
    "Instance",
    "NewestEntry",
    "NewestReading",
    "Quarantined",
    "RegistryCounts",
    "connection_states",
    "gaps",
    "instances",
    "newest_entries",
    "newest_readings",
    "newest_time",
    "quarantined",
    "readings_count",
    "registry_counts",
]


@dataclass(frozen=True, slots=True)
class NewestReading:
    """The newest stored reading of one live tag; `time` is None when there is none."""

    tag_id: int
    tag: str
    well: str
    connection: str
    mode: str
    interval_s: float
    time: datetime | None

    def silent(self, now: datetime, *, intervals: float = 3, grace_s: float = 120) -> bool:
        """Say whether the tag has been silent for `intervals` times its expected interval and `grace_s` more."""
        return self.time is None or now - self.time > timedelta(seconds=intervals * self.interval_s + grace_s)


@dataclass(frozen=True, slots=True)
class Instance:
    """An ingest instance that has not stopped in good order."""

    spool_id: str
    hostname: str
    pid: int
    started_at: datetime
    heartbeat_at: datetime
    oldest_spooled_time: datetime | None
    committed_to: datetime | None
    """When the newest spool frame that is stored was received; frames are stored in the order they were received in."""
    spool_rows: int
    spool_bytes: int
    spool_seconds_left: float | None

    def lag_s(self, now: datetime) -> float:
        """For how many seconds, at the most, something received has waited to be stored; 0 when the spool is empty.

        What waits is no older than its oldest source time says (which a device's store may make years), and was
        received after what is stored (which may be long ago where sources are quiet): the lesser of the two.
        """
        if self.oldest_spooled_time is None:
            return 0.0
        bounds = [now - bound for bound in (self.oldest_spooled_time, self.committed_to) if bound is not None]
        return max(0.0, min(bounds).total_seconds())


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """A live connection of the registry, and what ingest last said of it."""

    tenant: str
    connection: str
    protocol: str
    enabled: bool
    tags: int
    wells: int
    state: str
    since: datetime | None
    last_reading_at: datetime | None
    readings_total: int | None
    readings_per_s: float | None
    error: str | None
    loss_window: str | None
    owner: str | None
    """Spool of the instance that reads it, or did last; None where none ever did."""
    hostname: str | None
    pid: int | None
    term: int | None
    lease_until: datetime | None
    """By the database's clock."""
    leased: bool | None
    """An instance reads it now, by the database's clock; None where none ever did."""


@dataclass(frozen=True, slots=True)
class Gaps:
    """Gaps of one connection for one reason."""

    connection: str
    reason: str
    gaps: int
    open: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Quarantined items of one reason; `recent` are those since the moment asked about."""

    reason: str
    items: int
    recent: int
    newest: datetime


@dataclass(frozen=True, slots=True)
class RegistryCounts:
    """How much the registry holds."""

    tenants: int
    wells: int
    connections: int
    connections_disabled: int
    tags: int
    tags_retired: int


@dataclass(frozen=True, slots=True)
class NewestEntry:
    """The field entries of one well: how many, and the newest."""

    well: str
    revisions: int
    entries: int
    received_at: datetime
    gauged_at: datetime


def newest_readings(conn: psycopg.Connection) -> Sequence[NewestReading]:
    """Return the newest reading of every live tag, newest first."""
    with conn.cursor(row_factory=class_row(NewestReading)) as cursor:
        return cursor.execute(query("readings_newest_by_tag")).fetchall()


def newest_time(conn: psycopg.Connection) -> datetime | None:
    """Return the time of the newest reading of any tag, live or retired; None when there is no reading."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        newest: datetime | None = cursor.execute(query("readings_newest")).fetchone()
    return newest


def instances(conn: psycopg.Connection) -> Sequence[Instance]:
    """Return the ingest instances that have not stopped in good order, oldest first."""
    with conn.cursor(row_factory=class_row(Instance)) as cursor:
        return cursor.execute(query("ingest_instances")).fetchall()


def connection_states(conn: psycopg.Connection) -> Sequence[ConnectionState]:
    """Return every live connection with its state, by tenant and name."""
    with conn.cursor(row_factory=class_row(ConnectionState)) as cursor:
        return cursor.execute(query("registry_connection_states")).fetchall()


def gaps(conn: psycopg.Connection, since: datetime) -> Sequence[Gaps]:
    """Return the gaps that are open or ended since a moment, by connection and reason."""
    with conn.cursor(row_factory=class_row(Gaps)) as cursor:
        return cursor.execute(query("ingest_gaps_by_reason"), {"since": since}).fetchall()


def quarantined(conn: psycopg.Connection, since: datetime) -> Sequence[Quarantined]:
    """Return what quarantine holds by reason, and how much of it came since a moment."""
    with conn.cursor(row_factory=class_row(Quarantined)) as cursor:
        return cursor.execute(query("quarantine_by_reason"), {"since": since}).fetchall()


def readings_count(conn: psycopg.Connection) -> int:
    """Return how many readings are stored, without reading them."""
    with conn.cursor(row_factory=scalar_row) as cursor:
        return int(cursor.execute(query("readings_count")).fetchall()[0])


def registry_counts(conn: psycopg.Connection) -> RegistryCounts:
    """Return how many tenants, wells, connections and tags there are."""
    with conn.cursor(row_factory=class_row(RegistryCounts)) as cursor:
        return cursor.execute(query("registry_counts")).fetchall()[0]


def newest_entries(conn: psycopg.Connection) -> Sequence[NewestEntry]:
    """Return the newest field entry of every well that has one, newest first."""
    with conn.cursor(row_factory=class_row(NewestEntry)) as cursor:
        return cursor.execute(query("field_entries_newest")).fetchall()
