"""Fills the warm tier with the field's past: readings at one minute, entries, and the aggregates over them.

The work is cut into pieces of one connection and one UTC day. Each piece is one transaction of COPY and a ledger row
under an identifier of the piece's own, so that a run cut short goes on where it stopped, a second run stores nothing
twice, and the rows stored are accounted for as ingest's are. Moments that have a reading keep it.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid5

import numpy as np
from psycopg.errors import UniqueViolation

from wellos.clock import from_micros
from wellos.errors import ConfigurationError, Problem
from wellos.quality import SPARKPLUG_BAD, SPARKPLUG_GOOD, SPARKPLUG_UNCERTAIN
from wellos.registry import load_connections
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.entries import FieldEntries
from wellos.simulator.entry_table import write_entries
from wellos.simulator.history_refresh import refreshing
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


@dataclass(frozen=True, slots=True)
class _Piece:
    """One connection, one UTC day: its wells' tags by registry number."""

    spool_id: UUID
    connection_id: int
    start_us: int
    end_us: int
    wells: tuple[tuple[int, np.ndarray[Any, np.dtype[np.int32]]], ...]


def backfill(
    conn: PgConnection,
    field: Field,
    start_us: int,
    end_us: int,
    progress: Callable[[str, float], None] = lambda _what, _share: None,
) -> Backfill:
    """Store readings and entries of (start, end] that are not there yet, then refresh all aggregates.

    `conn` must be in autocommit mode. `progress` is told what is being done and the share of it that is done.
    ConfigurationError when the field is not in the registry.
    """
    pieces = _pieces(conn, field, start_us, end_us)
    done = _done(conn, pieces)
    todo = [piece for piece in pieces if piece.spool_id not in done]
    conn.execute("SELECT ensure_readings_partitions(%s::date[])", (_partition_days(start_us, end_us),))
    entries = write_entries(conn, field, FieldEntries(field).entries(start_us + 1, end_us + 1))
    stored = 0
    with refreshing(conn, start_us - DAY_US) as stored_to:
        for number, (piece, readings) in enumerate(_ahead(field, todo), start=1):
            stored += _store(conn, piece, readings)
            progress("readings", number / len(todo))
            if number == len(todo) or todo[number].start_us > piece.start_us:
                stored_to(piece.end_us)
        progress("aggregates", 0)
    conn.execute("CALL refresh_aggregates()")  # what a clock that is behind changed in days already refreshed
    progress("aggregates", 1)
    return Backfill(stored, entries, len(todo), len(pieces) - len(todo))


def _pieces(conn: PgConnection, field: Field, start_us: int, end_us: int) -> list[_Piece]:
    connections = {(item.tenant, item.name): item for item in load_connections(conn)}
    missing = sorted({well.connection for well in field.wells if (well.tenant, well.connection) not in connections})
    remedy = "Apply the simulator's fleet file: `wellos fleet apply FILE`"
    if missing:
        raise ConfigurationError(
            [Problem("not in the registry, or not enabled", remedy, field=name) for name in missing]
        )
    pieces = []
    for tenant, name in dict.fromkeys((well.tenant, well.connection) for well in field.wells):
        connection = connections[tenant, name]
        ids = {(tag.well, tag.name): tag.tag_id for tag in connection.tags}
        mine = [(number, well) for number, well in enumerate(field.wells) if well.connection == name]
        unknown = [
            f"{well.name}.{tag.name}" for _, well in mine for tag in well.tags if (well.name, tag.name) not in ids
        ]
        if unknown:
            raise ConfigurationError([Problem("is not in the registry", remedy, field=tag) for tag in unknown])
        wells = tuple(
            (number, np.array([ids[well.name, tag.name] for tag in well.tags], dtype=np.int32)) for number, well in mine
        )
        for low, high in _days(start_us, end_us):
            day = f"{from_micros(low):%Y-%m-%d}"
            spool = uuid5(_NAMESPACE, f"{tenant}/{name}/{day}")
            pieces.append(_Piece(spool, connection.connection_id, low, high, wells))
    return sorted(pieces, key=lambda piece: piece.start_us)


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


def _done(conn: PgConnection, pieces: Sequence[_Piece]) -> set[UUID]:
    spools = [piece.spool_id for piece in pieces]
    return {row[0] for row in conn.execute(query("history_done"), {"spools": spools})}


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
            _add_to_ledger(conn, piece, readings.size)
            return readings.size
    except UniqueViolation:
        return _merge(conn, piece, readings)


def _merge(conn: PgConnection, piece: _Piece, readings: Readings) -> int:
    """Store only readings of moments that have none: some of the day came live."""
    with conn.transaction(), conn.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE staged_history (LIKE readings) ON COMMIT DROP")
        copy_readings(cursor, readings, "staged_history")
        stored = cursor.execute(query("history_merge")).rowcount
        _add_to_ledger(conn, piece, stored)
        return stored


def _add_to_ledger(conn: PgConnection, piece: _Piece, rows: int) -> None:
    values = {
        "spool": piece.spool_id,
        "connection": piece.connection_id,
        "rows": rows,
        "received_at": from_micros(piece.end_us),
    }
    conn.execute(query("history_ledger_add"), values)
