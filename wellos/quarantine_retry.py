"""Stores from quarantine what can be stored now: once, in one transaction with its row's state and a ledger entry.

The ledger entry is a booking between accounts. Nothing is received: a reading that was turned away on the way in goes
from `quarantined` to `rows`, one that the database refused or that was fenced goes from `poisoned`; either then counts
as stored, repeated, replaced or superseded. So every sum of the accounting identity holds before and after. These
entries have a spool of their own (`RETRIES`), with sequences from 1 without a hole.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import psycopg

from wellos.clock import from_micros
from wellos.quality import Quality
from wellos.quarantine import get, originals, packed
from wellos.readings import empty
from wellos.storage.changes import days_of
from wellos.storage.merge import Outcome, begin_merge, salvage_readings
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from wellos.quarantine import Item
    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

__all__ = ["RETRIES", "Retried", "obstacle", "retry"]

RETRIES = UUID("3d1c6a52-50a4-5c1e-9c0f-2f6f7e1b7a90")
"""Spool of the ledger entries of retries."""

POISONED = ("refused", "fenced")
"""Reasons of rows that the ledger counts as poisoned; all others it counts as quarantined."""
_LOCK = 0x77656C71
_AT_ONCE = 5_000
_ATTEMPTS = 5
_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_214_400_000_000
_DAY_US = 86_400_000_000
_MOST_NEW_DAYS = 32
_LARGEST = 1e100
_SPAN_TOLERANCE = 0.005
_COUNTED = ("quarantined", "rows", "poisoned", *(one.name.lower() for one in Outcome))


@dataclass(frozen=True, slots=True)
class Retried:
    """What became of one item."""

    quarantine_id: int
    outcome: str | None
    """stored, repeated, replaced or superseded; None: it stays in quarantine."""
    why: str = ""
    """Why it stays."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the registry says of a tag."""

    tenant: str
    connection_id: int
    retired: bool
    low: float | None
    high: float | None
    sentinels: Sequence[float]
    """As readings have them: scaled."""


def retry(conn: PgConnection, ids: Sequence[int], who: str, latest_us: int, *, dry_run: bool = False) -> list[Retried]:
    """Store what can be stored of these items, some thousand in a transaction; `conn` must be idle and in autocommit.

    `latest_us`: a reading of a later source time is still of the future. Safe to repeat: what is resolved is left.
    """
    done: list[Retried] = []
    conn.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        for at in range(0, len(ids), _AT_ONCE):
            done += _retry_some(conn, ids[at : at + _AT_ONCE], who, latest_us, dry_run=dry_run)
    finally:
        conn.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
    return done


def obstacle(item: Item, reading: Readings | None, target: Target | None, latest_us: int) -> str:
    """Return why an item cannot be stored now; empty when it can."""
    if item.resolved_at is not None:
        return f"{item.resolution} already, by {item.resolved_by} at {item.resolved_at:%Y-%m-%d %H:%M:%SZ}"
    if item.ordinal < 0:
        return "it is what is left of a damaged spool frame: its readings cannot be told"
    if reading is None:
        protocol = item.protocol or "its protocol"
        return f"it is a payload as it came over {protocol}, no reading: have the source send it again"
    time, tag_id = reading[["time", "tag_id"]][0].item()
    checks = {
        "it has no source time": time < _YEAR_1,
        "its source time is still ahead of the platform's clock": time > latest_us,
        f"the registry has no tag {tag_id}": target is None,
    }
    if target is not None:
        unknown = item.reason not in POISONED  # a poisoned one was of a known tag when it was received
        checks[f"tag {tag_id} belongs to another tenant"] = target.tenant != item.tenant
        checks[f"tag {tag_id} is not a tag of connection {item.connection}"] = (
            unknown and target.connection_id != item.connection_id
        )
        checks[f"tag {tag_id} is retired"] = unknown and target.retired
    return next((why for why, holds in checks.items() if holds), "")


def _retry_some(conn: PgConnection, ids: Sequence[int], who: str, latest_us: int, *, dry_run: bool) -> list[Retried]:
    for attempt in range(_ATTEMPTS):
        _ensure_days(conn, ids)
        try:
            with conn.transaction(force_rollback=dry_run), conn.cursor() as cursor:
                begin_merge(cursor)
                able, readings, unable = _sort_out(conn, get(conn, ids), latest_us)
                return unable + _store(cursor, able, readings, who)
        except (psycopg.errors.SerializationFailure, psycopg.errors.UniqueViolation):
            if attempt == _ATTEMPTS - 1:  # somebody wrote the same keys or items meanwhile, five times in a row
                raise
    raise AssertionError


def _sort_out(conn: PgConnection, items: Sequence[Item], latest_us: int) -> tuple[list[Item], Readings, list[Retried]]:
    raw = originals(conn, [item.quarantine_id for item in items])
    readings = {item.quarantine_id: packed(raw.get(item.quarantine_id), item.source) for item in items}
    tags = sorted({int(one["tag_id"][0]) for one in readings.values() if one is not None})
    targets = {row[0]: Target(*row[1:]) for row in conn.execute(query("quarantine_tags"), {"tags": tags})}
    able, parts, unable = [], [empty()], []
    for item in sorted(items, key=lambda item: (item.received_at, item.quarantine_id)):
        reading = readings[item.quarantine_id]
        target = None if reading is None else targets.get(int(reading["tag_id"][0]))
        why = obstacle(item, reading, target, latest_us)
        if why or reading is None or target is None:
            unable.append(Retried(item.quarantine_id, None, why))
        else:
            able.append(item)
            parts.append(reading if item.reason in POISONED else _graded(reading, target))
    return able, np.concatenate(parts), unable


def _store(cursor: psycopg.Cursor[Any], items: Sequence[Item], readings: Readings, who: str) -> list[Retried]:
    (first,) = cursor.execute(query("quarantine_next_seq"), {"spool_id": RETRIES}).fetchone() or (1,)
    of_connection = {one: first + n for n, one in enumerate(sorted({item.connection_id for item in items}))}
    seqs = np.array([of_connection[item.connection_id] for item in items], np.int64)
    outcome, refused = salvage_readings(cursor, readings, RETRIES, seqs)
    words = [Outcome(code).name.lower() for code in outcome.tolist()]
    done = [
        Retried(item.quarantine_id, None, f"the database refuses it: {refused[n]}")
        if n in refused
        else Retried(item.quarantine_id, words[n])
        for n, item in enumerate(items)
    ]
    stored = [(item, one.outcome) for item, one in zip(items, done, strict=True) if one.outcome is not None]
    if stored:
        _book(cursor, stored, of_connection, first, days_of(readings))
        marked = {"ids": [item.quarantine_id for item, _ in stored], "outcomes": [word for _, word in stored]}
        cursor.execute(query("quarantine_retried"), marked | {"who": who})
    return done


def _book(
    cursor: psycopg.Cursor[Any],
    stored: Sequence[tuple[Item, str]],
    of_connection: dict[int, int],
    first: int,
    days: list[date],
) -> None:
    """Write the ledger entries: one a connection, also of one all of whose readings were refused again."""
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for item, word in stored:
        poisoned = item.reason in POISONED
        counts[item.connection_id].update({word: 1, "poisoned": -poisoned, "rows": not poisoned})
        counts[item.connection_id]["quarantined"] -= not poisoned
    connections = list(of_connection)
    columns = {name: [int(counts[one][name]) for one in connections] for name in _COUNTED}
    zeros = dict.fromkeys(("received", "duplicates", "shed"), [0] * len(connections))
    now = datetime.now(UTC)
    cursor.execute(
        query("ingest_ledger_add"),
        columns
        | zeros
        | {"spool_id": RETRIES, "seq": [first + n for n in range(len(connections))], "connection_id": connections}
        | {"received_at": [now] * len(connections), "days": days},
    )


def _graded(reading: Readings, target: Target) -> Readings:
    """Return a reading with the quality that it would have got on the way in: what turned it away came before that."""
    graded = reading.copy()
    value = graded["value"]
    codes = np.array([code for code in target.sentinels if np.isfinite(code)])
    absent = not np.isfinite(value[0]) or bool((np.abs(value - codes) <= 6e-8 * np.abs(codes)).any())
    low, high = (-np.inf if target.low is None else target.low), (np.inf if target.high is None else target.high)
    slack = (high - low) * _SPAN_TOLERANCE if np.isfinite(high - low) else 0.0
    outside = value[0] < low - slack or value[0] > high + slack or abs(value[0]) > _LARGEST
    if absent:
        graded["value"] = np.nan
    if absent or outside:
        graded["quality"] = Quality.BAD
    return graded


def _ensure_days(conn: PgConnection, ids: Sequence[int]) -> None:
    """Make the partitions beforehand: in the transaction that stores, ingest would wait for its end."""
    found = originals(conn, ids)
    parts = [packed(found[item.quarantine_id], item.source) for item in get(conn, ids)]
    times = np.concatenate([empty(), *(part for part in parts if part is not None)])["time"]
    days = np.unique(times[(times >= 0) & (times < _YEAR_9999)] // _DAY_US)[-_MOST_NEW_DAYS:]
    dates = [from_micros(day * _DAY_US).date() for day in days.tolist()]
    conn.execute("SELECT ensure_readings_partitions(%s::date[])", (dates,))
