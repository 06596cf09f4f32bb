"""Tells which frames a stale owner read: another instance had taken their connection over before they were received."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any
    from uuid import UUID

    import psycopg

    from wellos.spool_format import Frame

__all__ = ["fenced"]


def fenced(cursor: psycopg.Cursor[Any], spool_id: UUID, frames: Sequence[Frame]) -> set[int]:
    """Return the sequences of frames that must not be stored, and hold every takeover until the transaction ends.

    First statement of the transaction: under REPEATABLE READ a lease that changed since the snapshot would end it.
    """
    pairs = {(frame.header.connection_id, frame.header.term) for frame in frames if frame.header.term}
    if not pairs:
        return set()
    ids, terms = zip(*sorted(pairs), strict=True)
    values = {"spool_id": spool_id, "connection_id": list(ids), "term": list(terms)}
    until = {(row[0], row[1]): row[2] for row in cursor.execute(query("lease_fence"), values)}
    if not until:
        return set()
    headers = [frame.header for frame in frames]
    return {item.seq for item in headers if item.received_us > until.get((item.connection_id, item.term), 1 << 63)}
