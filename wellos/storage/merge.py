"""Stores readings some of which are stored already: better quality wins, then the last received; losers are kept.

What is stored under a batch's (tag, time) keys is looked up in the index and judged here, in arrays; then what is new
goes in by COPY, what replaces a stored value by ON CONFLICT, and what lost goes to `reading_revisions`. So a batch that
was stored before costs its look-up, and one that was not costs little more than its COPY.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from wellos.clock import from_micros
from wellos.readings import empty
from wellos.storage.copy import copy_columns, copy_readings, decode, to_postgres
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from numpy.typing import NDArray

    from wellos.readings import Readings

__all__ = [
    "Judged",
    "Outcome",
    "begin_merge",
    "equal",
    "judge",
    "look_up",
    "merge_readings",
    "revise",
    "salvage_readings",
]

_DAY_US = 86_400_000_000
_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_214_400_000_000
_MOST_SPANS = 32


class Outcome(IntEnum):
    """What becomes of a reading; the names are columns of the ledger."""

    STORED = 0
    """Its (tag, time) is new."""
    REPEATED = 1
    """It equals what is stored: dropped."""
    REPLACED = 2
    """It replaces the stored value, which goes to the revisions."""
    SUPERSEDED = 3
    """A better value is stored: it goes to the revisions itself."""


@dataclass(frozen=True, slots=True)
class Judged:
    """One element a reading, in the order the readings were given in."""

    outcome: NDArray[np.uint8]
    against: Readings
    """The value that each was compared with; zeros where the outcome is STORED."""
    winner: NDArray[np.bool_]
    """It is not in the table and has to be in the end: the last of its key to win."""
    known: NDArray[np.bool_]
    """The table has its key."""


def judge(readings: Readings, stored: Readings) -> Judged:
    """Compare readings, in the order received, with what is stored under their keys (other keys do not matter)."""
    count = len(readings)
    found = Judged(
        np.zeros(count, np.uint8), empty(count), np.ones(count, np.bool_), np.zeros(count, np.bool_)
    )  # all of them new, until shown otherwise
    both = np.concatenate([stored, readings])
    tags, times = both["tag_id"].copy(), both["time"].copy()
    order = np.lexsort((times, tags))  # stable: of one key the stored value comes first, then by order of receipt
    tags, times = tags[order], times[order]
    same = np.zeros(len(order) + 1, np.bool_)
    same[1:-1] = (tags[1:] == tags[:-1]) & (times[1:] == times[:-1])
    contested = same[1:] | same[:-1]  # not alone under its key
    if contested.any():
        _judge_contested(found, both, order[contested], ~same[:-1][contested], len(stored))
    return found


def _judge_contested(
    found: Judged, both: Readings, order: NDArray[np.intp], first: NDArray[np.bool_], stored: int
) -> None:
    """Judge the places `order` of `both`, sorted by key and then by receipt; `first` marks where a key begins.

    The first `stored` places are the table's.
    """
    ordered, at, group = both[order], np.arange(len(order)), np.cumsum(first)
    rank = group * 256 + ordered["quality"]  # groups only grow: the maximum so far is one within the group
    wins = first.copy()
    wins[1:] |= rank[1:] >= np.maximum.accumulate(rank)[:-1]
    rival = np.zeros(len(order), np.intp)
    rival[1:] = np.maximum.accumulate(np.where(wins, at, 0))[:-1]
    against = ordered[rival]
    outcome = np.where(wins, Outcome.REPLACED, Outcome.SUPERSEDED).astype(np.uint8)
    outcome[equal(ordered, against)] = Outcome.REPEATED
    outcome[first] = Outcome.STORED
    against[first] = empty(1)[0]

    old = order < stored
    gains = ~old & ((outcome == Outcome.STORED) | (outcome == Outcome.REPLACED))
    last = np.full(int(group[-1]) + 1, -1)
    last[group[gains]] = at[gains]  # of several assignments the last stays
    known = np.bincount(group, weights=old) > 0

    new = ~old
    place = order[new] - stored
    found.outcome[place] = outcome[new]
    found.against[place] = against[new]
    found.winner[place] = (last[group] == at)[new]
    found.known[place] = known[group][new]


def begin_merge(cursor: psycopg.Cursor[Any]) -> None:
    """Make the transaction that just began one for `merge_readings`.

    REPEATABLE READ: a row that another writes meanwhile makes it fail (unique violation, serialization failure), to be
    tried again; it cannot vanish.
    """
    cursor.execute(query("merge_begin"))


def merge_readings(
    cursor: psycopg.Cursor[Any],
    readings: Readings,
    spool_id: UUID,
    seqs: NDArray[np.int64],
    suspects: NDArray[np.bool_] | None = None,
) -> Judged:
    """Store readings; `seqs` names the frame of each, for its revision. Needs `begin_merge`.

    With `suspects` only those are looked up; if any other is stored already, the database raises a unique violation.
    """
    stored = look_up(cursor, readings if suspects is None else readings[suspects])
    judged = judge(readings, stored)
    fresh = judged.winner & ~judged.known
    if fresh.any():
        copy_readings(cursor, readings if fresh.all() else readings[fresh])
    changed = judged.winner & judged.known
    if changed.any():
        cursor.execute("DELETE FROM merge_winners")
        copy_readings(cursor, readings[changed], "merge_winners")
        cursor.execute(query("merge_replace"))
    for outcome in (Outcome.REPLACED, Outcome.SUPERSEDED):
        lost = judged.outcome == outcome
        if lost.any():
            losers = judged.against if outcome is Outcome.REPLACED else readings
            revise(cursor, losers[lost], outcome, spool_id, seqs[lost])
    return judged


def salvage_readings(
    cursor: psycopg.Cursor[Any], readings: Readings, spool_id: UUID, seqs: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], dict[int, str]]:
    """Store what can be stored, and find by bisection what the database refuses. Needs `begin_merge`.

    Returns the outcome of each reading, and what the database said of each that it refused (whose outcome is 0 too).
    """
    outcome = np.zeros(len(readings), np.uint8)
    refused: dict[int, str] = {}
    parts = [(0, len(readings))] if len(readings) else []
    while parts:
        low, high = parts.pop()
        cursor.execute("SAVEPOINT part")
        try:
            outcome[low:high] = merge_readings(cursor, readings[low:high], spool_id, seqs[low:high]).outcome
        except (psycopg.DataError, psycopg.IntegrityError) as error:  # SQLSTATE classes 22 and 23
            if isinstance(error, psycopg.errors.UniqueViolation):
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT part")
            if high - low == 1:
                refused[low] = f"{error.sqlstate}: {error.diag.message_primary}"
            else:
                middle = (low + high) // 2
                parts += [(middle, high), (low, middle)]
            continue
        cursor.execute("RELEASE SAVEPOINT part")
    return outcome, refused


def look_up(cursor: psycopg.Cursor[Any], readings: Readings) -> Readings:
    """Return what is stored under the keys of these readings. Needs `begin_merge`."""
    if not len(readings):
        return empty()
    tags, times = readings["tag_id"].copy(), readings["time"].copy()
    order = np.lexsort((times, tags))  # the order of the index: neighbours share its pages
    tags, times = tags[order], times[order]
    once = np.ones(len(order), np.bool_)
    once[1:] = (tags[1:] != tags[:-1]) | (times[1:] != times[:-1])
    tags, times = tags[once], times[once]
    cursor.execute("DELETE FROM merge_keys")
    copy_columns(cursor, "merge_keys", {"time": to_postgres(times), "tag_id": tags})
    found = []
    for since, until in _spans(times):
        with cursor.copy(query("merge_look_up"), {"since": since, "until": until}) as copy:
            found.append(decode(b"".join(copy)))
    return np.concatenate(found)


def _spans(times: NDArray[np.int64]) -> Iterator[tuple[datetime, datetime]]:
    """Yield bounds that hold all times, one a day: a day is a chunk or a partition, and no other is then looked at."""
    days = times // _DAY_US
    distinct = np.unique(days)
    for some in np.array_split(distinct, min(_MOST_SPANS, len(distinct))):
        within = times[(days >= some[0]) & (days <= some[-1])]
        yield _moment(int(within.min())), _moment(int(within.max()))


def revise(
    cursor: psycopg.Cursor[Any], losers: Readings, outcome: Outcome, spool_id: UUID, seqs: NDArray[np.int64]
) -> None:
    """Keep values that lost a conflict; `seqs` names the ledger entry that counts each."""
    word = outcome.name.lower().encode()
    columns = {
        "time": to_postgres(losers["time"]),
        "tag_id": losers["tag_id"],
        "value": losers["value"],
        "quality": losers["quality"].astype(np.int16),
        "status": losers["status"],
        "outcome": np.array([word], f"S{len(word)}"),
        "spool_id": np.array([np.void(spool_id.bytes)]),
        "seq": seqs,
    }
    copy_columns(cursor, "reading_revisions", columns)


def equal(some: Readings, others: Readings) -> NDArray[np.bool_]:
    """Where the values, qualities and status codes are the same; two NaN are."""
    a, b = some["value"], others["value"]
    same: NDArray[np.bool_] = (a == b) | (np.isnan(a) & np.isnan(b))
    same &= some["quality"] == others["quality"]
    same &= some["status"] == others["status"]
    return same


def _moment(micros: int) -> datetime:
    return from_micros(min(max(micros, _YEAR_1), _YEAR_9999))
