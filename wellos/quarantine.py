"""Quarantine: what was received and could not be stored, whole, with its reason, until a person resolves it.

A row is never removed, as the accounting identity counts it. Resolving it notes who did what and when: a retry stores
its reading (`wellos.quarantine_retry`), a deletion drops the original and keeps the rest.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
from base64 import b64encode
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from psycopg.rows import class_row

from wellos.clock import from_micros
from wellos.errors import ConfigurationError, Problem
from wellos.files import replace_file
from wellos.quality import Quality
from wellos.readings import READING
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

__all__ = ["Filter", "Item", "decode", "delete", "export", "find", "get", "operator", "originals", "packed"]

_PAGE = 500
_LATEST_US = 253_402_300_799_999_999


@dataclass(frozen=True, slots=True)
class Filter:
    """Which items are meant; a field that is None does not count."""

    tenant: str | None = None
    connection: str | None = None
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    """Received before."""
    resolved: bool = False
    """Also those that were resolved."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item without its original."""

    quarantine_id: int
    tenant: str
    connection: str
    """Tenant and connection are empty where the registry does not name them."""
    connection_id: int
    protocol: str
    reason: str
    detail: str
    source: str
    """Topic, node id, register or tag."""
    bytes: int | None
    """Size of the original; None when it was deleted."""
    received_at: datetime
    spool_id: UUID
    seq: int
    ordinal: int
    resolved_at: datetime | None
    resolution: str | None
    resolved_by: str | None
    resolution_detail: str | None

    @property
    def state(self) -> str:
        """What was done about it."""
        return self.resolution or "open"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON types."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def find(conn: PgConnection, chosen: Filter, limit: int | None = None) -> list[Item]:
    """Return the items that are meant, the newest first."""
    return _select(conn, asdict(chosen) | {"ids": None, "limit": limit})


def get(conn: PgConnection, ids: Sequence[int]) -> list[Item]:
    """Return these items in the order asked for; ConfigurationError names every id that there is not."""
    values = asdict(Filter(resolved=True)) | {"ids": list(ids), "limit": None}
    found = {item.quarantine_id: item for item in _select(conn, values)}
    missing = [number for number in dict.fromkeys(ids) if number not in found]
    if missing:
        remedy = "See `wellos quarantine list`"
        raise ConfigurationError([Problem("not in quarantine", remedy, field="ID", value=one) for one in missing])
    return [found[number] for number in dict.fromkeys(ids)]


def originals(conn: PgConnection, ids: Sequence[int]) -> dict[int, bytes | None]:
    """Return the originals of these items; None for one that was deleted."""
    return dict(conn.execute(query("quarantine_originals"), {"ids": list(ids)}).fetchall())


def packed(original: bytes | None, source: str) -> Readings | None:
    """Return the one reading that an original is, None where it is something else.

    What ingest itself turned away (not an adapter) is a packed reading, and names its tag as the source.
    """
    if original is None or len(original) != READING.itemsize:
        return None
    reading = np.frombuffer(original, READING)
    return reading if source == f"tag {reading['tag_id'][0]}" else None


def decode(original: bytes | None, source: str) -> dict[str, Any]:
    """Return what can be told of an original: `kind` (reading, json, text, binary, deleted) and its content."""
    if original is None:
        return {"kind": "deleted"}
    reading = packed(original, source)
    if reading is not None:
        return {"kind": "reading", "content": _fields(reading)}
    try:
        text = original.decode()
    except UnicodeDecodeError:
        return {"kind": "binary", "content": original.hex()}
    try:
        return {"kind": "json", "content": json.loads(text, parse_constant=str)}
    except (ValueError, RecursionError):
        printable = text.isprintable() or all(c.isprintable() or c.isspace() for c in text)
        return {"kind": "text", "content": text} if printable else {"kind": "binary", "content": original.hex()}


def delete(conn: PgConnection, ids: Sequence[int], who: str, why: str) -> int:
    """Drop the originals of these items for good and note who did it and why; return how many there were to drop."""
    values = {"ids": list(ids), "who": who, "why": why}
    return len(conn.execute(query("quarantine_delete"), values).fetchall())


def export(conn: PgConnection, items: Sequence[Item], path: Path) -> None:
    """Write items with their originals (base64 and decoded) to a file, which is there whole or as it was before.

    CSV for a name that ends in .csv, else one JSON object a line.
    """
    records = _records(conn, items)
    replace_file(path, _csv_lines(records) if path.suffix == ".csv" else (json.dumps(item) + "\n" for item in records))


def operator() -> str:
    """Return the user of the operating system, who answers for what is done."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return f"uid {os.getuid()}"


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, UUID) else value


def _select(conn: PgConnection, values: dict[str, Any]) -> list[Item]:
    with conn.cursor(row_factory=class_row(Item)) as cursor:
        return cursor.execute(query("quarantine_find"), values).fetchall()


def _fields(reading: Readings) -> dict[str, Any]:
    time, value, tag_id, status, quality, flags = reading[0].item()
    known = {int(one): one.name for one in Quality}
    when = from_micros(time).isoformat() if 0 <= time <= _LATEST_US else None
    return {
        "time": when,
        "time_us": time,
        "tag_id": tag_id,
        "value": value if np.isfinite(value) else str(value),
        "quality": known.get(quality, quality),
        "status": status,
        "flags": flags,
    }


def _records(conn: PgConnection, items: Sequence[Item]) -> Iterator[dict[str, Any]]:
    for at in range(0, len(items), _PAGE):
        page = items[at : at + _PAGE]
        raw = originals(conn, [item.quarantine_id for item in page])
        for item in page:
            original = raw.get(item.quarantine_id)
            encoded = None if original is None else b64encode(original).decode()
            yield item.as_dict() | {"original": encoded, "decoded": decode(original, item.source)}


def _csv_lines(records: Iterator[dict[str, Any]]) -> Iterator[str]:
    for number, record in enumerate(records):
        row = record | {"decoded": json.dumps(record["decoded"])}
        line = io.StringIO()
        writer = csv.DictWriter(line, list(row), lineterminator="\n")
        if number == 0:
            writer.writeheader()
        writer.writerow(row)
        yield line.getvalue()
