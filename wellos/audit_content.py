"""Compares what the spool still keeps with what is stored, reading by reading: the one audit that sees altered values.

Every reading of a committed frame is in `readings` as it was received, or lost a conflict and is in
`reading_revisions`, or was refused and is in `quarantine`. Of a day that left the warm tier it is in the cold one,
where it is not looked up: the day was proven to be there before it was dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wellos.clock import from_micros
from wellos.spool_format import SEGMENT, Frame, list_segments, parse, read_spool_id
from wellos.storage.merge import begin_merge, equal, look_up
from wellos.storage.sql import query

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    import psycopg
    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

__all__ = ["compare", "compare_frames"]

_FIELDS = ["tag_id", "time", "value", "quality", "status"]
_SHOWN = 10
_DAY_US = 86_400_000_000


def compare(conn: PgConnection, spool_dir: Path) -> tuple[int, int, list[str]]:
    """Return how many kept readings were compared, how many were not as their days are dropped, and what is wrong.

    `conn` must be idle.
    """
    spool_id = read_spool_id(spool_dir)
    if spool_id is None:
        return 0, 0, []
    compared, cold = 0, 0
    problems: list[str] = []
    for segment in list_segments(spool_dir):
        try:
            data = segment.path.read_bytes()
        except FileNotFoundError:
            continue  # the running ingest has given it up since the folder was listed
        frames = [item for item, _ in parse(data[SEGMENT.size :], final=True) if isinstance(item, Frame)]
        with conn.transaction(), conn.cursor() as cursor:
            begin_merge(cursor)
            found, left, wrong = compare_frames(cursor, spool_id, [frame for frame in frames if frame.header.rows])
        compared += found
        cold += left
        problems += wrong
    return (
        compared,
        cold,
        problems[:_SHOWN] + ([f"and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []),
    )


def compare_frames(cursor: psycopg.Cursor[Any], spool_id: UUID, frames: list[Frame]) -> tuple[int, int, list[str]]:
    """Return the same as `compare` of some frames of a spool, each with readings. Needs `begin_merge`."""
    if not frames:
        return 0, 0, []
    span = {"spool_id": spool_id, "first_seq": frames[0].header.seq, "last_seq": frames[-1].header.seq}
    committed = {seq for seq, *_ in cursor.execute(query("ingest_ledger_seen"), span)}
    frames = [frame for frame in frames if frame.header.seq in committed]
    if not frames:
        return 0, 0, []
    readings = np.concatenate([frame.readings for frame in frames])
    seqs = np.repeat([frame.header.seq for frame in frames], [frame.header.rows for frame in frames])
    missing = ~_stored(readings, look_up(cursor, readings))
    cold = missing & _dropped(cursor, readings)
    missing &= ~cold
    compared, left = len(readings) - int(cold.sum()), int(cold.sum())
    odd, seqs = readings[missing], seqs[missing]
    if not len(odd):
        return compared, left, []
    times = [from_micros(time) for time in odd["time"].tolist()]
    revised = cursor.execute(query("audit_revised"), {"tags": odd["tag_id"].tolist(), "times": times}).fetchall()
    explained = {_key(row) for row in revised}
    aside = {"spool_id": spool_id, "seqs": np.unique(seqs).tolist()}
    kept = {bytes(original) for (original,) in cursor.execute(query("audit_kept_aside"), aside)}
    return (
        compared,
        left,
        [
            f"spool {spool_id}, frame {seq}: tag {row[0]} at {from_micros(row[1])} is not stored as it was received"
            for row, seq, raw in zip(odd[_FIELDS].tolist(), seqs.tolist(), odd, strict=True)
            if _key(row) not in explained and raw.tobytes() not in kept
        ],
    )


def _dropped(cursor: psycopg.Cursor[Any], readings: Readings) -> NDArray[np.bool_]:
    """Where a reading is of a day that is dropped."""
    rows = cursor.execute("SELECT day - '1970-01-01' FROM reading_days WHERE dropped_at IS NOT NULL").fetchall()
    return np.isin(readings["time"] // _DAY_US, np.array([day for (day,) in rows], np.int64))


def _stored(readings: Readings, stored: Readings) -> NDArray[np.bool_]:
    """Where the table has a reading just so; of each key `stored` holds at most one."""
    both = np.concatenate([stored, readings])
    order = np.lexsort((both["time"], both["tag_id"]))  # stable: the stored one comes first of its key
    ordered = both[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (ordered["tag_id"][1:] != ordered["tag_id"][:-1]) | (ordered["time"][1:] != ordered["time"][:-1])
    leader = np.flatnonzero(first)[np.cumsum(first) - 1]
    same = equal(ordered, ordered[leader]) & (order[leader] < len(stored))
    found = np.empty(len(both), np.bool_)
    found[order] = same
    return found[len(stored) :]


def _key(row: tuple[Any, ...]) -> tuple[Any, ...]:
    tag, time, value, quality, status = row
    return tag, time, None if np.isnan(value) else value, quality, status
