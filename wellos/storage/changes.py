"""Which UTC days a transaction changed: what every writer of readings tells the database before it commits.

A change that nobody notes is one that the archive never hears of, and a day without it may be dropped. So the queries
that write the ledger (`ingest_ledger_add`, `history_ledger_add`) ask for the days and note them in the same statement:
there is no writer of readings without a row in the ledger, and no further round trip. Anything else that changes
readings calls `note_readings_changed`.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Cursor

    from wellos.readings import Readings

__all__ = ["days_of", "note_readings_changed"]

_DAY_US = 86_400_000_000
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date.min.toordinal() - _EPOCH, date.max.toordinal() - _EPOCH


def days_of(readings: Readings) -> list[date]:
    """Return the UTC days of these readings' source times, each once, in order.

    Times outside of the years 1 to 9999 have none: no such day can be watched, archived or dropped.
    """
    if not len(readings):
        return []
    times = readings["time"]
    first, last = int(times.min()) // _DAY_US, int(times.max()) // _DAY_US
    days = [first] if first == last else np.unique(times // _DAY_US).tolist()
    return [date.fromordinal(_EPOCH + day) for day in days if _FIRST_DAY <= day <= _LAST_DAY]


def note_readings_changed(cursor: Cursor[Any], days: list[date]) -> None:
    """Note, after the readings and in their transaction, that they changed on these days."""
    cursor.execute("SELECT note_readings_changed(%s::date[])", (days,))
