"""OPC UA data changes to packed readings: pure; only what is no plain number is looked at one by one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from streaming.adapters.opcua_changes import DataChanges
from streaming.delivery import Gap, Rejected
from wellos.quality import from_opcua, opcua_overflow
from wellos.readings import Flag, Readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua import ua

    from streaming.adapters.tags import TagColumns

__all__ = ["Decoded", "decode", "missing_sequence"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# The encoding has no absent time, only its two ends: 1601 for "no time", 9999 for "never".
_NO_TIME = frozenset({None, datetime(1601, 1, 1, tzinfo=UTC)})
_LAST_YEAR = 9999
_TICKS = 10
"""Of the encoding, a microsecond."""
_SINCE_1601_US = (_EPOCH - datetime(1601, 1, 1, tzinfo=UTC)) // _MICROSECOND
_LAST_TICK = _TICKS * ((datetime(_LAST_YEAR, 1, 1, tzinfo=UTC) - _EPOCH) // _MICROSECOND + _SINCE_1601_US)
_NUMBER = frozenset({float, int, bool, type(None)})
_LAST_SEQUENCE = 2**32 - 1
_MAX_ORIGINAL = 65_536
_MAX_ELEMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Decoded:
    """Everything that one or more data change notifications held."""

    readings: Readings
    rejected: tuple[Rejected, ...]
    gaps: tuple[Gap, ...]


def decode(
    changes: Sequence[DataChanges],
    tags: TagColumns,
    addresses: Sequence[str],
    received_us: int,
    last_us: np.ndarray | None = None,
    also: Flag = Flag(0),  # noqa: B008 - an integer, never changed
) -> Decoded:
    """Decode monitored item notifications whose client handle is the tag's position; each gets the flags `also`.

    `last_us` holds the newest source time seen of each tag, microseconds, 0 for none, and is brought up to date: a gap
    left by an overflowed queue begins there. None: from history, which has no queue. Text, arrays and structures are
    not readings: they are rejected.
    """
    parts = [_part(change, addresses, received_us) for change in changes or (DataChanges.empty(0),)]
    rejected = tuple(one for _, some in parts for one in some)
    columns = (np.concatenate(column) for column in zip(*(columns for columns, _ in parts), strict=True))
    index, values, time, status, flags = columns
    readings = tags.readings(index, time, values, from_opcua(status), status, flags | np.uint8(also))
    if last_us is None:
        return Decoded(readings, rejected, ())
    gaps = _overflow_gaps(readings, index, last_us)
    np.maximum.at(last_us, index, time)
    return Decoded(readings, rejected, gaps)


def _part(
    changes: DataChanges, addresses: Sequence[str], received_us: int
) -> tuple[tuple[np.ndarray, ...], list[Rejected]]:
    """Return the columns position, value, time, status and flags, and what is no reading."""
    known = (changes.handle >= 0) & (changes.handle < len(addresses))
    time, flags = _times(changes.source, changes.server, received_us)
    columns: tuple[np.ndarray, ...] = changes.handle, changes.value, time, changes.status, flags
    if not changes.others and known.all():
        return columns, []
    columns = tuple(column.copy() for column in columns)
    rejected: list[Rejected] = []
    for row in sorted({*changes.others, *np.flatnonzero(~known).tolist()}):
        found = _single(changes.item(row), addresses, received_us)
        if isinstance(found, Rejected):
            rejected.append(found)
            known[row] = False
        else:
            for column, cell in zip(columns[1:], found, strict=True):
                column[row] = cell
    return tuple(column[known] for column in columns), rejected


def _single(
    item: ua.MonitoredItemNotification, addresses: Sequence[str], received_us: int
) -> tuple[float, int, int, int] | Rejected:
    """Return value, time, status and flags of one item that the library decoded."""
    data, position = item.Value, item.ClientHandle
    variant = None if data is None else data.Value
    raw = None if variant is None else variant.Value
    if not 0 <= position < len(addresses):
        return Rejected("unknown_tag", f"client handle {position}", "", _original(raw))
    if data is None or (type(raw) not in _NUMBER and not isinstance(raw, (int, float))):
        kind = getattr(getattr(variant, "VariantType", None), "name", type(raw).__name__)
        shape = "array" if isinstance(raw, list) else "value"
        detail = "no value was sent" if data is None else f"{kind} {shape} is not a number"
        return Rejected("malformed", detail, addresses[position], _original(raw))
    time_us, assumed = _time(data.SourceTimestamp, data.ServerTimestamp, received_us)
    status = 0 if data.StatusCode is None else int(data.StatusCode.value)
    return np.nan if raw is None else float(raw), time_us, status, assumed


def _time(source: datetime | None, server: datetime | None, received_us: int) -> tuple[int, int]:
    if source not in _NO_TIME and source is not None and source.year < _LAST_YEAR:
        return (source - _EPOCH) // _MICROSECOND, 0
    if server not in _NO_TIME and server is not None and server.year < _LAST_YEAR:
        return (server - _EPOCH) // _MICROSECOND, Flag.ASSUMED_TIME
    return received_us, Flag.ASSUMED_TIME


def _times(source: np.ndarray, server: np.ndarray, received_us: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times and flags as `_time` does, of ticks."""
    time, assumed = source // _TICKS - _SINCE_1601_US, (source < _TICKS) | (source >= _LAST_TICK)
    if assumed.any():
        by_server = (server >= _TICKS) & (server < _LAST_TICK)
        time[assumed] = np.where(by_server, server // _TICKS - _SINCE_1601_US, received_us)[assumed]
    return time, np.where(assumed, np.uint8(Flag.ASSUMED_TIME), np.uint8(0))


def _original(raw: object) -> bytes:
    if isinstance(raw, bytes):
        return raw[:_MAX_ORIGINAL]
    if isinstance(raw, list):
        raw = raw[:_MAX_ELEMENTS]
    text = raw if isinstance(raw, str) else repr(raw)
    return text.encode(errors="backslashreplace")[:_MAX_ORIGINAL]


def _overflow_gaps(readings: Readings, index: np.ndarray, last_us: np.ndarray) -> tuple[Gap, ...]:
    """Name what the server dropped: between the reading before the one that carries the bit, and that one."""
    marked = np.flatnonzero(opcua_overflow(readings["status"]))
    gaps = []
    for row in marked.tolist():
        end = int(readings["time"][row])
        earlier = readings["time"][:row][index[:row] == index[row]]
        start = int(earlier[-1]) if len(earlier) else int(last_us[index[row]]) or end
        gaps.append(Gap(min(start, end), end, "queue_overflow", int(readings["tag_id"][row])))
    return tuple(gaps)


def missing_sequence(last: int | None, current: int, most: int = 1000) -> list[int] | None:
    """Return the sequence numbers between two notification messages (they go from 2^32-1 to 1), oldest first.

    An empty list is the normal case; None when the numbering started again or jumped by more than `most`.
    """
    if last is None or current == last:
        return []
    step = (current - last) % _LAST_SEQUENCE
    if step > most:
        return None
    return [(last - 1 + ahead) % _LAST_SEQUENCE + 1 for ahead in range(1, step)]
