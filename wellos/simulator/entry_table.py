"""Puts the simulator's field entries into the table `field_entries`, each once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from psycopg.errors import NotNullViolation

from wellos.clock import from_micros
from wellos.errors import ConfigurationError, Problem
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wellos.simulator.entries import Entry
    from wellos.simulator.field import Field
    from wellos.storage.warm import PgConnection

__all__ = ["write_entries"]


def write_entries(conn: PgConnection, field: Field, entries: Iterable[Entry]) -> int:
    """Insert entries that are not there yet; return how many were new.

    ConfigurationError when a well is not in the registry.
    """
    rows = [_row(field, entry) for entry in entries]
    if not rows:
        return 0
    try:
        return conn.execute(query("simulator_entries_add"), {"entries": json.dumps(rows)}).rowcount
    except NotNullViolation as error:
        remedy = "Apply the simulator's fleet file: `wellos fleet apply FILE`"
        raise ConfigurationError([Problem("a simulated well is not in the registry", remedy)]) from error


def _row(field: Field, entry: Entry) -> dict[str, Any]:
    well = field.wells[entry.well]
    return {
        "entry_id": str(entry.entry_id),
        "revision": entry.revision,
        "tenant": well.tenant,
        "well": well.name,
        "entry_type": entry.entry_type,
        "gauged_at": from_micros(entry.gauged_us).isoformat(),
        "entered_at": from_micros(entry.entered_us).isoformat(),
        "received_at": from_micros(entry.received_us).isoformat(),
        "data": entry.data,
        "notes": entry.notes,
        "created_by": entry.created_by,
        "device_id": entry.device_id,
    }
