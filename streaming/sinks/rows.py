"""Puts readings into the table: by COPY, by merging with what is stored, or around the rows that are refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from wellos.readings import empty
from wellos.storage.copy import copy_readings
from wellos.storage.merge import Outcome, merge_readings, salvage_readings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    import psycopg
    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.spool_format import Frame
    from wellos.storage.merge import Judged

__all__ = ["Counts", "copy", "fence", "merge", "readings_of", "salvage"]


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


def readings_of(frames: Sequence[Frame]) -> Readings:
    """Return the readings of these frames in one array."""
    return np.concatenate([frame.readings for frame in frames]) if frames else empty()


def copy(cursor: psycopg.Cursor[Any], frames: Sequence[Frame], readings: Readings) -> list[Counts]:
    """COPY the readings of these frames; any key that is stored already fails all of it."""
    if len(readings):
        copy_readings(cursor, readings)
    return [Counts(stored=frame.header.rows) for frame in frames]


def merge(
    cursor: psycopg.Cursor[Any],
    spool_id: UUID,
    frames: Sequence[Frame],
    readings: Readings,
    suspects: NDArray[np.bool_] | None,
) -> tuple[list[Counts], Judged]:
    """Merge the readings of these frames with what is stored. Needs `begin_merge`; `suspects` as `merge_readings`."""
    lengths = [frame.header.rows for frame in frames]
    seqs = np.repeat(np.array([frame.header.seq for frame in frames], np.int64), lengths)
    judged = merge_readings(cursor, readings, spool_id, seqs, suspects)
    place = np.repeat(np.arange(len(frames)), lengths) * len(Outcome) + judged.outcome
    counted = np.bincount(place, minlength=len(frames) * len(Outcome)).reshape(len(frames), len(Outcome))
    return [Counts(stored, repeated, replaced, lost) for stored, repeated, replaced, lost in counted.tolist()], judged


def salvage(cursor: psycopg.Cursor[Any], spool_id: UUID, frame: Frame) -> Counts:
    """Store what can be stored of one frame, and find by bisection the rows that the database refuses."""
    seqs = np.full(frame.header.rows, frame.header.seq, np.int64)
    outcome, refused = salvage_readings(cursor, frame.readings, spool_id, seqs)
    counted = np.bincount(outcome, minlength=len(Outcome))
    counted[Outcome.STORED] -= len(refused)
    stored, repeated, replaced, superseded = counted.tolist()
    return Counts(stored, repeated, replaced, superseded, sorted(refused.items()))


def fence(frame: Frame) -> Counts:
    """Store nothing of a stale owner's frame: whether its readings are wanted beside the new owner's, a person says."""
    said = f"received under lease term {frame.header.term}, after another instance had taken the connection over"
    return Counts(poisoned=[(row, said) for row in range(frame.header.rows)], reason="fenced")
