"""Streams a tenant's day out of the warm tier: sorted by tag and time, in pieces, memory bounded whatever it holds.

The server packs a tag's readings into one binary message, in the order in which its index or its compressed segments
hold them, which is the newest first; here they are turned round. A tag of more readings than fit such a message is
cut by time.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from wellos.aggregates import day_window
from wellos.clock import from_micros, to_micros
from wellos.storage.copy import unpack
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date
    from uuid import UUID

    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

__all__ = ["PIECE_ROWS", "Contents", "count_readings", "export_readings"]

PIECE_ROWS = 1 << 18
"""Least rows of a piece, but for the last."""
_MESSAGE_ROWS = 1 << 18
"""Most readings of a tag in one message of the server: 6 MB there, and some copies of them here."""
_PARTS = 64
_TAGS = "SELECT tag_id, connection_id FROM tags WHERE tenant_id = %s ORDER BY tag_id"


@dataclass(frozen=True, slots=True)
class Contents:
    """Which tags a tenant has, and how many readings each has on a day; parallel arrays by tag."""

    day: date
    tag_ids: NDArray[np.int32]
    connection_ids: NDArray[np.int32]
    counts: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Readings of the day."""
        return int(self.counts.sum())

    @property
    def connections(self) -> dict[int, int]:
        """Readings by connection, without those that have none."""
        ids, place = np.unique(self.connection_ids, return_inverse=True)
        sums = np.zeros(len(ids), np.int64)
        np.add.at(sums, place, self.counts)
        return {int(one): int(rows) for one, rows in zip(ids, sums, strict=True) if rows}


def count_readings(conn: PgConnection, tenant_id: UUID, day: date) -> Contents:
    """Count a tenant's readings of a UTC day, by tag."""
    since, until = day_window(day)
    tags = conn.execute(_TAGS, (tenant_id,)).fetchall()  # retired ones, too
    ids, connections = np.array(tags, np.int32).reshape(-1, 2).T
    window = {"tags": ids.tolist(), "since": since, "until": until}
    found: dict[int, int] = dict(conn.execute(query("export_counts"), window).fetchall())
    return Contents(day, ids, connections, np.array([found.get(tag_id, 0) for tag_id in ids.tolist()], np.int64))


def export_readings(conn: PgConnection, contents: Contents, *, message_rows: int = _MESSAGE_ROWS) -> Iterator[Readings]:
    """Yield the readings that `contents` counted, in the same transaction, by tag and time over all pieces."""
    conn.execute(query("export_plan"))
    held: list[Readings] = []
    rows = 0
    for part in _stream(conn, contents, message_rows):
        held.append(part)
        rows += len(part)
        if rows >= PIECE_ROWS:
            yield np.concatenate(held)
            held, rows = [], 0
    if held:
        yield np.concatenate(held)


def _stream(conn: PgConnection, contents: Contents, message_rows: int) -> Iterator[Readings]:
    since, until = map(to_micros, day_window(contents.day))
    run: list[int] = []
    for tag_id, count in zip(contents.tag_ids.tolist(), contents.counts.tolist(), strict=True):
        if count <= message_rows:
            if count:
                run.append(tag_id)
            continue
        yield from _window(conn, run, since, until)
        run = []
        for start, end in _cut(conn, tag_id, since, until, message_rows):
            yield from _window(conn, [tag_id], start, end)
    yield from _window(conn, run, since, until)


def _window(conn: PgConnection, tag_ids: Sequence[int], since_us: int, until_us: int) -> Iterator[Readings]:
    """Yield the readings of each tag with since <= time < until, by time."""
    if not tag_ids:
        return
    window = {"tags": list(tag_ids), "since": from_micros(since_us), "until": from_micros(until_us)}
    with conn.cursor(binary=True) as cursor:
        for tag_id, packed in cursor.stream(query("export_packed"), window):
            readings = unpack(packed, tag_id)[::-1]
            if (np.diff(readings["time"]) <= 0).any():  # the plan did not keep the order, which SQL does not promise
                readings = readings[np.argsort(readings["time"])]
            yield readings


def _cut(conn: PgConnection, tag_id: int, since_us: int, until_us: int, rows: int) -> Iterator[tuple[int, int]]:
    """Yield windows of a tag, in order and without gap, of at most `rows` readings each: times are unique in a tag."""
    bounds = sorted({since_us + (until_us - since_us) * part // _PARTS for part in range(_PARTS + 1)})
    window = {
        "tag": tag_id,
        "since": from_micros(since_us),
        "until": from_micros(until_us),
        "bounds": [from_micros(bound) for bound in bounds],
    }
    counts: dict[int, int] = dict(conn.execute(query("export_histogram"), window).fetchall())
    start, held = since_us, 0
    for part, (low, high) in enumerate(pairwise(bounds)):
        count = counts.get(part, 0)
        if held + count > rows and held:
            yield start, low
            start, held = low, 0
        if count > rows:
            yield from _cut(conn, tag_id, low, high, rows)
            start = high
        else:
            held += count
    if start < until_us:
        yield start, until_us
