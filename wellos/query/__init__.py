"""The one read across hot, warm and cold: typed results that say where they came from."""

from __future__ import annotations

import atexit
import threading
from typing import TYPE_CHECKING

from wellos.query.provenance import Part, Provenance, Result
from wellos.query.watch import watch_closed_days
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from wellos.query.reader import Reader

__all__ = [
    "Part",
    "Provenance",
    "Result",
    "default_reader",
    "field_entries",
    "latest",
    "readings",
    "telemetry",
    "watch_closed_days",
]

_lock = threading.Lock()
_reader: Reader | None = None


def default_reader() -> Reader:
    """Return the reader of this process, of the settings when it was first asked for; it is closed at exit."""
    global _reader  # noqa: PLW0603 - one a process, as its connections are
    with _lock:
        if _reader is None:
            from wellos.query.reader import Reader  # noqa: PLC0415 - Polars: half a second that few importers need pay

            _reader = Reader(load_settings())
            atexit.register(_reader.close)
        return _reader


def readings(  # noqa: PLR0913 - what can be asked
    tenant: str,
    well: str,
    tags: str | Sequence[str] | None,
    start: datetime,
    end: datetime,
    interval: str | None = None,
    quality: str | Collection[str] | None = None,
    *,
    limit: int | None = None,
    cursor: str | None = None,
) -> Result:
    """Read tags of a well (None: all of them) over [start, end), from whatever tiers hold that range.

    `interval`: raw, 15s, 1min, 5min, 1hour, 1day, 1week or 1month; None takes what fits the range: up to a day raw, 7
    days 1min, 30 days 1hour, else 1day. Times are aware. Buckets are whole: those that touch the range.

    Columns, by time and tag: of raw `time, tag, value, quality, status`; of buckets `time` (their start), `tag, n,
    n_good, n_uncertain, n_bad, avg, min, max, first, last, stddev`, values over GOOD readings, null without one.
    `quality`: which raw readings to return, GOOD and UNCERTAIN when it is not given; a BAD value says nothing.

    An answer of more than WELLOS_QUERY_MAX_ROWS rows is refused, and the interval that would do is named; `limit` asks
    for pages instead: give the `next` of one as the `cursor` of the next.

    Raises ConfigurationError for names the registry does not know and for all else that the caller must correct;
    UnreachableError for the database; ColdError, ColdRetryError or DamagedCopyError for the archive; MovedError.
    """
    return default_reader().readings(tenant, well, tags, start, end, interval, quality, limit=limit, cursor=cursor)


def latest(tenant: str, well: str, tags: str | Sequence[str] | None = None) -> Result:
    """Return the newest reading of each tag of a well (None: all), of any quality, in the columns of raw readings.

    From Redis where it is whole, else from the warm tier; a tag whose readings have all been archived has none.
    """
    return default_reader().latest(tenant, well, tags)


def telemetry(
    tenant: str, wells: str | Sequence[str] | None, start: datetime, end: datetime, interval: str = "1hour"
) -> Result:
    """Return the statistics of the metrics of wells (None: all of the tenant) by 1hour, 1day, 1week or 1month.

    Columns, by time and well: `time` (start of the bucket), `well, n, n_good, n_uncertain, n_bad`, and of each metric
    its `_avg, _min, _max, _median, _stddev` over GOOD readings, null without one; weeks and months have no medians.
    Buckets are whole. ConfigurationError for a range that begins before telemetry is kept (WELLOS_AGGREGATE_DAYS).
    """
    return default_reader().telemetry(tenant, wells, start, end, interval)


def field_entries(tenant: str, wells: str | Sequence[str] | None, start: datetime, end: datetime) -> Result:
    """Return what pumpers wrote down of wells (None: all) that was gauged in [start, end), the latest revisions.

    Columns, by time and well: `time` (when it was gauged), `well, entry_type, volume_kind, data` (JSON), `notes,
    created_by, entered_at, received_at, revision, entry_id`. Cached for WELLOS_CACHE_MANUAL_S, and never older than the
    last revision that any well of the tenant got.
    """
    return default_reader().field_entries(tenant, wells, start, end)
