"""Puts readings into the table: by COPY, by merging with what is stored, or around the rows that are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from streaming.sinks.sqlstate import Kind, kind_of
from wellos.clock import from_micros
from wellos.storage.copy import copy_readings
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    from wellos.readings import Readings
    from wellos.spool_format import Frame

__all__ = ["Counts", "copy", "fence", "merge", "salvage"]

_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_214_400_000_000


@dataclass(slots=True)
class Counts:
    """What became of one frame's readings; the names are the ledger's columns."""

    stored: int = 0
    repeated: int = 0
    replaced: int = 0
    superseded: int = 0
    poisoned: list[tuple[int, str]] = field(default_factory=list)
    """Row and what the database said of it."""
    reason: str = "refused"
    """Why these rows are in quarantine."""


def copy(cursor: psycopg.Cursor[Any], frames: Sequence[Frame]) -> list[Counts]:
    """COPY the readings of these frames; any key that is stored already fails all of it."""
    readings = _concatenate(frames)
    if len(readings):
        copy_readings(cursor, readings)
    return [Counts(stored=frame.header.rows) for frame in frames]


def merge(cursor: psycopg.Cursor[Any], spool_id: UUID, frames: Sequence[Frame]) -> list[Counts]:
    """Stage the readings and merge them: better quality wins, then the last received; losers go to the revisions.

    Needs a REPEATABLE READ transaction, so that a row written meanwhile by another makes it fail, not vanish.
    """
    filled = [frame for frame in frames if frame.header.rows]
    by_seq = {frame.header.seq: Counts() for frame in frames}
    if filled:
        firsts = np.cumsum([0, *(frame.header.rows for frame in filled[:-1])]).tolist()
        seqs = [frame.header.seq for frame in filled]
        for seq, stored, repeated, replaced, superseded in _merge(cursor, spool_id, _concatenate(filled), seqs, firsts):
            by_seq[seq] = Counts(stored, repeated, replaced, superseded)
    return [by_seq[frame.header.seq] for frame in frames]


def salvage(cursor: psycopg.Cursor[Any], spool_id: UUID, frame: Frame) -> Counts:
    """Store what can be stored of one frame, and find by bisection the rows that the database refuses."""
    total = Counts()
    parts = [(0, frame.header.rows)]
    while parts:
        low, high = parts.pop()
        cursor.execute("SAVEPOINT part")
        try:
            found = _merge(cursor, spool_id, frame.readings[low:high], [frame.header.seq], [0])
        except psycopg.Error as error:
            if kind_of(error) is not Kind.POISON:
                raise
            cursor.execute("ROLLBACK TO SAVEPOINT part")
            if high - low == 1:
                total.poisoned.append((low, f"{error.sqlstate}: {error.diag.message_primary}"))
            else:
                middle = (low + high) // 2
                parts += [(middle, high), (low, middle)]
            continue
        cursor.execute("RELEASE SAVEPOINT part")
        for _, stored, repeated, replaced, superseded in found:
            total.stored += stored
            total.repeated += repeated
            total.replaced += replaced
            total.superseded += superseded
    return total


def fence(frame: Frame) -> Counts:
    """Store nothing of a stale owner's frame: whether its readings are wanted beside the new owner's, a person says."""
    said = f"received under lease term {frame.header.term}, after another instance had taken the connection over"
    return Counts(poisoned=[(row, said) for row in range(frame.header.rows)], reason="fenced")


def _merge(
    cursor: psycopg.Cursor[Any], spool_id: UUID, readings: Readings, seqs: list[int], firsts: list[int]
) -> list[tuple[int, int, int, int, int]]:
    cursor.execute("TRUNCATE staged_readings, merge_outcomes RESTART IDENTITY")
    copy_readings(cursor, readings, "staged_readings")
    times = readings["time"]
    span = [from_micros(min(max(int(t), _YEAR_1), _YEAR_9999)) for t in (times.min(), times.max())]
    cursor.execute(query("ingest_merge_classify"), {"since": span[0], "until": span[1]})
    cursor.execute(query("ingest_merge_store"))
    frames = {"spool_id": spool_id, "seqs": seqs, "firsts": firsts}
    cursor.execute(query("ingest_merge_revise"), frames)
    return cursor.execute(query("ingest_merge_outcomes"), frames).fetchall()


def _concatenate(frames: Sequence[Frame]) -> Readings:
    return np.concatenate([frame.readings for frame in frames])
