"""Writes what goes with the readings in the same transaction: ledger rows, quarantine, gaps and quality episodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from streaming.extras import decode_extras
from streaming.sinks.sqlstate import Kind, kind_of
from wellos.clock import from_micros
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import date, datetime
    from uuid import UUID

    from streaming.sinks.rows import Counts
    from wellos.spool_format import Frame, Header, Lost

__all__ = ["identity", "write_frames", "write_lost"]

_YEAR_1, _YEAR_9999 = -62_135_596_800_000_000, 253_402_214_400_000_000
_OUTCOMES = ("stored", "repeated", "replaced", "superseded")
_QUARANTINE = ("seq", "ordinal", "connection_id", "reason", "detail", "source", "original", "received_at")
_GAPS = ("seq", "connection_id", "tag_id", "started_at", "ended_at", "reason")
_FILLED = ("connection_id", "tag_id", "started_at", "ended_at")
_EPISODES = ("seq", "connection_id", "tag_id", "check_name", "severity", "started_at", "ended_at", "evidence")
_COUNTERS = ("connection_id", "received", "quarantined", "duplicates", "shed", "rows")


@dataclass(slots=True)
class _Side:
    """Rows of the tables beside the readings."""

    quarantine: list[tuple[Any, ...]] = field(default_factory=list)
    gaps: list[tuple[Any, ...]] = field(default_factory=list)
    filled: list[tuple[Any, ...]] = field(default_factory=list)
    episodes: list[tuple[Any, ...]] = field(default_factory=list)


def identity(header: Header) -> tuple[int, int, int]:
    """Return what the ledger keeps of a frame that no other frame has: connection, when it was received, readings."""
    return header.connection_id, _within_years(header.received_us), header.rows


def write_frames(
    cursor: psycopg.Cursor[Any],
    spool_id: UUID,
    frames: Sequence[Frame],
    counts: Sequence[Counts],
    days: list[date],
    *,
    salvaging: bool = False,
) -> None:
    """Write the ledger rows of these frames, their originals and gaps, and that readings of these UTC days changed.

    `salvaging`: one of them holds something that the database refuses. Texts are then written in ASCII, which every
    database can hold, and of what else is refused the reason goes to quarantine, so that nothing stops the drain.
    """
    headers = [frame.header for frame in frames]
    ledger: dict[str, Any] = {"spool_id": spool_id, "seq": [header.seq for header in headers]}
    ledger |= {name: [getattr(header, name) for header in headers] for name in _COUNTERS}
    ledger |= {name: [getattr(count, name) for count in counts] for name in _OUTCOMES}
    ledger["poisoned"] = [len(count.poisoned) for count in counts]
    ledger["received_at"] = [_moment(header.received_us) for header in headers]
    ledger["days"] = days
    cursor.execute(query("ingest_ledger_add"), ledger)
    side = _Side()
    for frame, count in zip(frames, counts, strict=True):
        if frame.extras or count.poisoned:
            _collect(frame, count, side, _ascii if salvaging else _text)
    refused = []
    for name, columns, found in (
        ("ingest_gaps_add", _GAPS, side.gaps),
        ("ingest_gaps_close", _FILLED, side.filled),
        ("ingest_episodes_add", _EPISODES, side.episodes),
    ):
        if not salvaging:
            _insert(cursor, name, spool_id, columns, found)
        elif said := _try_insert(cursor, name, spool_id, columns, found):
            refused.append(f"{name}: {said}")
    for frame, ordinal, said in ((frame, -2 - n, said) for frame in frames[:1] for n, said in enumerate(refused)):
        header = frame.header
        texts = ("refused", _ascii(said), "spool")
        received = _moment(header.received_us)
        side.quarantine.append((header.seq, ordinal, header.connection_id, *texts, frame.extras, received))
    _insert(cursor, "ingest_quarantine_add", spool_id, _QUARANTINE, side.quarantine)


def write_lost(cursor: psycopg.Cursor[Any], spool_id: UUID, lost: Lost, now: datetime) -> None:
    """Write the empty ledger rows of sequences that the spool cannot give back, and what is left of them."""
    values = {"spool_id": spool_id, "connection_id": lost.connection_id, "received_at": now}
    cursor.execute(query("ingest_ledger_add_lost"), values | {"first_seq": lost.first_seq, "last_seq": lost.last_seq})
    detail = f"{lost.detail}: sequences {lost.first_seq} to {lost.last_seq}"
    detail += f", {lost.rows} readings" if lost.rows else ""
    row = (lost.first_seq, -1, lost.connection_id, "corrupt_frame", detail, "spool", lost.sample, now)
    _insert(cursor, "ingest_quarantine_add", spool_id, _QUARANTINE, [row])
    until = _moment(lost.until_us) if lost.until_us else now
    values |= {"first_seq": lost.first_seq, "since": _moment(lost.since_us), "until": until}
    cursor.execute(query("ingest_gaps_add_lost"), values)


def _collect(frame: Frame, count: Counts, side: _Side, text: Callable[[str], str]) -> None:
    header = frame.header
    extras = decode_extras(frame.extras)
    received = _moment(header.received_us)
    for ordinal, item in enumerate(extras.rejected):
        texts = (text(item.reason), text(item.detail), text(item.source))
        side.quarantine.append((header.seq, ordinal, header.connection_id, *texts, item.original, received))
    for row, said in count.poisoned:
        reading = frame.readings[row]
        source = f"tag {reading['tag_id']}"
        texts = (count.reason, text(said), source)
        ordinal = len(extras.rejected) + row
        side.quarantine.append((header.seq, ordinal, header.connection_id, *texts, reading.tobytes(), received))
    for gap in extras.gaps:
        ends = _ends(gap.start_us, gap.end_us)
        side.gaps.append((header.seq, header.connection_id, gap.tag_id, *ends, text(gap.reason)))
    for span in extras.filled:
        side.filled.append((header.connection_id, span.tag_id, *_ends(span.start_us, span.end_us)))
    for episode in extras.episodes:
        started, ended = _ends(episode.start_us, episode.start_us if episode.end_us is None else episode.end_us)
        name = (header.seq, header.connection_id, episode.tag_id, episode.check, episode.severity)
        side.episodes.append((*name, started, None if episode.end_us is None else ended, Jsonb(dict(episode.evidence))))


def _insert(
    cursor: psycopg.Cursor[Any], name: str, spool_id: UUID, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> None:
    if rows:
        values = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
        cursor.execute(query(name), {"spool_id": spool_id} | values)


def _try_insert(
    cursor: psycopg.Cursor[Any], name: str, spool_id: UUID, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
) -> str:
    """Insert rows, or none of them and return what the database said."""
    cursor.execute("SAVEPOINT side")
    try:
        _insert(cursor, name, spool_id, columns, rows)
    except psycopg.Error as error:
        if kind_of(error) is not Kind.POISON:
            raise
        cursor.execute("ROLLBACK TO SAVEPOINT side")
        return f"{error.sqlstate}: {error.diag.message_primary}"
    cursor.execute("RELEASE SAVEPOINT side")
    return ""


def _ascii(text: str) -> str:
    return text.encode("ascii", "backslashreplace").decode().replace("\0", "\\x00")


def _text(text: str) -> str:
    """What PostgreSQL takes as text: no NUL, no lone surrogate."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _ends(start_us: int, end_us: int) -> tuple[datetime, datetime]:
    return _moment(start_us), _moment(max(start_us, end_us))


def _moment(micros: int) -> datetime:
    return from_micros(_within_years(micros))


def _within_years(micros: int) -> int:
    return min(max(micros, _YEAR_1), _YEAR_9999)
