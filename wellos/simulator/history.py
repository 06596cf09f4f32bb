"""Fills the warm tier with the field's past: readings at one minute, entries, and the aggregates over them.

The work is cut into pieces of one connection and one UTC day. Each is one transaction of COPY and a ledger row under an
identifier of the piece's own, so that a run cut short goes on where it stopped, a second run stores nothing twice, and
the rows stored are accounted for as ingest's are. A day that was not over is carried on by the next run. Moments that
have a reading keep it.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np
from psycopg.errors import UniqueViolation

from wellos.clock import from_micros, to_micros
from wellos.errors import ConfigurationError, Problem
from wellos.quality import SPARKPLUG_BAD, SPARKPLUG_GOOD, SPARKPLUG_UNCERTAIN
from wellos.registry import load_connections
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.entries import FieldEntries
from wellos.simulator.entry_table import write_entries
from wellos.simulator.history_refresh import refreshing
from wellos.storage.changes import days_of
from wellos.storage.copy import copy_readings
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from wellos.readings import Readings
    from wellos.simulator.field import Field
    from wellos.simulator.model import WireProtocol
    from wellos.storage.warm import PgConnection

__all__ = ["EVERY_S", "Backfill", "backfill"]

EVERY_S = 60
"""History is kept at one minute."""

_NAMESPACE = UUID("0c4e9f43-6a43-5a8e-9b1d-686973746f72")
_AHEAD = 3  # pieces worked out while one is being stored
_MQTT_STATUS = np.array([SPARKPLUG_BAD, SPARKPLUG_UNCERTAIN, SPARKPLUG_GOOD], dtype=np.uint32)


@dataclass(frozen=True, slots=True)
class Backfill:
    """What one run did."""

    readings: int
    entries: int
    pieces: int
    pieces_skipped: int
    """Stored by an earlier run."""


_Wells = tuple[tuple[int, np.ndarray[Any, np.dtype[np.int32]]], ...]
"""Number of a well, and the registry's numbers of its tags."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """One connection, one UTC day or what is left of it."""

    spool_id: UUID
    seq: int
    connection_id: int
    start_us: int
    end_us: int
    wells: _Wells


def backfill(
    conn: PgConnection,
    field: Field,
    start_us: int,
    end_us: int,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Backfill:
    """Store what is not there yet of the time from the UTC day of `start` up to `end`, then refresh the aggregates.

    `conn` must be in autocommit mode. `progress` is told what is being done and the share of it that is done.
    ConfigurationError when the field is not in the registry.
    """
    start_us = start_us // DAY_US * DAY_US
    pieces = _pieces(conn, field, start_us, end_us)
    todo = _left(conn, pieces)
    conn.execute("SELECT ensure_readings_partitions(%s::date[])", (_partition_days(start_us, end_us),))
    entries = write_entries(conn, field, FieldEntries(field).entries(start_us + 1, end_us + 1))
    stored = 0
    with refreshing(conn, start_us - DAY_US) as stored_to:
        for number, (piece, readings) in enumerate(_ahead(field, todo), start=1):
            stored += _store(conn, piece, readings)
            progress("readings", number / len(todo))
            if number == len(todo) or todo[number].end_us > piece.end_us:
                stored_to(piece.end_us)
        progress("aggregates", 0)
    conn.execute("CALL refresh_aggregates()")  # what a clock that is behind changed in days already refreshed
    progress("aggregates", 1)
    return Backfill(stored, entries, len(todo), len(pieces) - len(todo))


def _pieces(conn: PgConnection, field: Field, start_us: int, end_us: int) -> list[_Piece]:
    pieces = []
    for (tenant, name), (connection_id, wells) in _registered(conn, field).items():
        for low, high in _days(start_us, end_us):
            spool = uuid5(_NAMESPACE, f"{tenant}/{name}/{from_micros(low):%Y-%m-%d}")
            pieces.append(_Piece(spool, 1, connection_id, low, high, wells))
    return sorted(pieces, key=lambda piece: piece.end_us)


def _registered(conn: PgConnection, field: Field) -> dict[tuple[str, str], tuple[int, _Wells]]:
    """Return what the registry calls the field's connections (by tenant and name) and tags."""
    connections = {(item.tenant, item.name): item for item in load_connections(conn)}
    ids = {(*key, tag.well, tag.name): tag.tag_id for key, connection in connections.items() for tag in connection.tags}
    names = {(well.tenant, well.connection, well.name, tag.name) for well in field.wells for tag in well.tags}
    if missing := sorted(names - ids.keys()):
        remedy = "Apply the simulator's fleet file: `wellos fleet apply FILE`"
        others = f", and {len(missing) - 1} more" if missing[1:] else ""
        raise ConfigurationError([Problem(f"is not in the registry{others}", remedy, field=".".join(missing[0][2:]))])
    wells: dict[tuple[str, str], _Wells] = {}
    for number, well in enumerate(field.wells):
        key = well.tenant, well.connection
        tag_ids = np.array([ids[(*key, well.name, tag.name)] for tag in well.tags], dtype=np.int32)
        wells[key] = (*wells.get(key, ()), (number, tag_ids))
    return {key: (connections[key].connection_id, mine) for key, mine in wells.items()}


def _days(start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
    low = start_us
    while low < end_us:
        high = min(end_us, (low // DAY_US + 1) * DAY_US)
        yield low, high
        low = high


def _partition_days(start_us: int, end_us: int) -> list[date]:
    # From the day before: a device whose clock is behind sends times of yesterday.
    first, last = from_micros(start_us).date() - timedelta(days=1), from_micros(end_us).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _left(conn: PgConnection, pieces: Sequence[_Piece]) -> list[_Piece]:
    """Return pieces without what earlier runs stored of them."""
    spools = [piece.spool_id for piece in pieces]
    done = {
        spool: (seq, to_micros(until)) for spool, seq, until in conn.execute(query("history_done"), {"spools": spools})
    }
    rest = []
    for piece in pieces:
        seq, until_us = done.get(piece.spool_id, (0, piece.start_us))
        if until_us < piece.end_us:
            rest.append(replace(piece, seq=seq + 1, start_us=until_us))
    return rest


def _ahead(field: Field, pieces: Sequence[_Piece]) -> Iterator[tuple[_Piece, Readings]]:
    """Work out pieces on another thread, a few ahead: PostgreSQL indexes one while the next is computed."""
    waiting = iter(pieces)
    with ThreadPoolExecutor(1, "history") as worker:
        queue = deque((piece, worker.submit(_readings, field, piece)) for piece in islice(waiting, _AHEAD))
        while queue:
            piece, work = queue.popleft()
            readings = work.result()
            for following in islice(waiting, 1):
                queue.append((following, worker.submit(_readings, field, following)))
            yield piece, readings


def _readings(field: Field, piece: _Piece) -> Readings:
    """Return a piece's readings with the registry's tags and the protocol's status codes, in the index's order."""
    parts = []
    for well, tag_ids in piece.wells:
        part = field.samples(well, piece.start_us, piece.end_us, every_s=EVERY_S).copy()
        part["tag_id"] = tag_ids[part["tag_id"]]
        _set_status(part, field.wells[well].protocol)
        parts.append(part)
    readings = np.concatenate(parts)
    ordered: Readings = readings[np.lexsort((readings["time"], readings["tag_id"]))]
    return ordered


def _set_status(readings: Readings, protocol: WireProtocol) -> None:
    # What ingest would have stored: Modbus has no code but success, MQTT those of Sparkplug B.
    if protocol == "modbus":
        readings["status"] = 0
    elif protocol != "opcua":
        readings["status"] = _MQTT_STATUS[readings["quality"]]


def _store(conn: PgConnection, piece: _Piece, readings: Readings) -> int:
    try:
        with conn.transaction(), conn.cursor() as cursor:
            copy_readings(cursor, readings)
            _add_to_ledger(conn, piece, readings.size, days_of(readings))
            return readings.size
    except UniqueViolation:
        return _merge(conn, piece, readings)


def _merge(conn: PgConnection, piece: _Piece, readings: Readings) -> int:
    """Store only readings of moments that have none: some of the day came live."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE staged_history (LIKE readings) ON COMMIT DROP")
        copy_readings(cursor, readings, "staged_history")
        stored = cursor.execute(query("history_merge")).rowcount
        _add_to_ledger(conn, piece, stored, days_of(readings) if stored else [])
        return stored


def _add_to_ledger(conn: PgConnection, piece: _Piece, rows: int, days: list[date]) -> None:
    values = {
        "spool": piece.spool_id,
        "seq": piece.seq,
        "connection": piece.connection_id,
        "rows": rows,
        "received_at": from_micros(piece.end_us),
        "days": days,
    }
    conn.execute(query("history_ledger_add"), values)
