"""What pumpers wrote down, by names; cached under a name that counts a tenant's revisions."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import polars as pl

from wellos.query.facts import read_cluster
from wellos.query.frames import TIME
from wellos.query.provenance import Part
from wellos.query.tiers import TooManyError
from wellos.query.wells import find_wells
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from wellos.query.cache import Cache
    from wellos.storage.warm import PgConnection

__all__ = ["ENTRIES", "read_entries"]

ENTRIES = pl.Schema(
    {
        "time": TIME,
        "well": pl.String(),
        "entry_type": pl.String(),
        "volume_kind": pl.String(),
        "data": pl.String(),
        "notes": pl.String(),
        "created_by": pl.String(),
        "entered_at": TIME,
        "received_at": TIME,
        "revision": pl.Int32(),
        "entry_id": pl.String(),
    }
)


def read_entries(
    conn: PgConnection,
    cache: Cache,
    tenant: str,
    wells: Sequence[str] | None,
    start: datetime,
    end: datetime,
    most: int,
) -> tuple[pl.DataFrame, Part]:
    """Return the latest revisions gauged in [start, end), by time and well, and where they came from.

    ConfigurationError for names that the registry does not know, and beyond `most` rows.
    """
    tenant_id, names = find_wells(conn, tenant, wells)
    arguments = {"tenant_id": tenant_id, "wells": sorted(names), "start": start, "end": end}
    hit = False
    if not cache.on:
        frame = _read(conn, arguments)
    else:
        known = conn.execute(query("query_entries_known"), arguments).fetchone()
        text = repr((read_cluster(conn), "entries", sorted(arguments.items()), known))
        name = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
        frame, hit = _cached(conn, cache, name, arguments)
    if len(frame) > most:
        raise TooManyError(most)
    part = Part("warm", "field_entries_current", start, end, len(frame), cached=hit, cacheable=cache.on)
    return frame, part


def _cached(conn: PgConnection, cache: Cache, name: str, arguments: Mapping[str, object]) -> tuple[pl.DataFrame, bool]:
    found = cache.get([name])
    if name in found:
        return found[name], True
    flight = cache.claim([name])
    try:
        frame = None if name in flight.mine else cache.wait(flight).get(name)
        if frame is None:
            frame = _read(conn, arguments)
            if name in flight.mine:
                cache.land(flight, {name: frame})
    finally:
        cache.settle(flight)
    return frame, False


def _read(conn: PgConnection, arguments: Mapping[str, object]) -> pl.DataFrame:
    rows = conn.execute(query("query_entries"), arguments, binary=True).fetchall()
    return pl.DataFrame(rows, schema=ENTRIES, orient="row")
