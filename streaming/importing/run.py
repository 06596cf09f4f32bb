"""Imports one file: looks through it first, then stores it piece by piece, each piece once however often it is run.

The ledger names the file: its spool id comes from what the file, the mapping and the tags are. A piece gives one frame
a connection, in the same order in every run, so a run that was cut off goes on behind what the ledger has, and a
second run of the whole stores nothing. Readings are marked as historical: no alert is raised from them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID, uuid5

import numpy as np
import redis
from psycopg.rows import dict_row

from streaming.delivery import Filled
from streaming.importing.coverage import Coverage, OpenGap
from streaming.importing.layout import lay_out, names_of
from streaming.importing.rows import Converter
from streaming.importing.source import columns_of, digest, pieces
from streaming.sinks.hot import HotSink
from streaming.sinks.warm import WarmSink
from streaming.spool.entry import Entry
from streaming.validate import Share, Thresholds, Validator
from wellos.clock import to_micros
from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.registry import check_names, load_connections
from wellos.spool_format import Frame, parse
from wellos.storage.hot import HOUR_US
from wellos.storage.sql import query
from wellos.storage.warm import connect
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from streaming.importing.mapping import Mapping
    from streaming.importing.rows import Converted
    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["Examined", "Imported", "Importer"]

_NAMESPACE = UUID("5b1c2b80-0a63-5f0c-8f5e-696d706f7274")
_MOST_EXAMPLES = 20


@dataclass(slots=True)
class Examined:
    """What a first pass over the file found."""

    rows: int = 0
    """Readings that the file holds, one a cell where a column is a tag."""
    refused: int = 0
    left_out: int = 0
    """Rows of names that are unknown."""
    unknown: list[str] = field(default_factory=list)
    first_us: int | None = None
    last_us: int | None = None
    examples: list[dict[str, str]] = field(default_factory=list)
    """The first rows that are no readings: source, reason."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What the ledger says of the file, over all its runs."""

    spool_id: UUID
    received: int
    stored: int
    repeated: int
    replaced: int
    superseded: int
    duplicates: int
    quarantined: int
    poisoned: int
    gaps_closed: int
    """By this run."""
    resumed_frames: int
    """Frames that an earlier run had stored."""
    hot_missed: int
    """Readings of the last hours that Redis could not be given."""


class Importer:
    """One file of one tenant."""

    def __init__(
        self,
        settings: Settings,
        path: Path,
        tenant: str,
        mapping: Mapping,
        *,
        well: str | None,
        zone: str | None,
        name: str,
    ) -> None:
        """Read the registry and the header; `name` is what messages call the file. ConfigurationError."""
        self._settings, self._path, self._mapping, self._name = settings, path, mapping, name
        self._clock = settings.make_clock()
        with connect(settings, autocommit=True) as conn:
            check_names(conn, tenant=tenant)
            found = load_connections(conn, checked=False)
        self._connections = [item for item in found if item.tenant == tenant]
        if well is not None:
            _check_well(well, self._connections)
        self._layout = lay_out(columns_of(path, mapping), mapping, well, path)
        self._names = names_of(self._connections, mapping, well, name)
        self._well, self._zone = well, zone

    def examine(self, progress: Callable[[int], None] = lambda _rows: None) -> Examined:
        """Look through the whole file without storing anything."""
        found = Examined()
        for converted in self._converted():
            if converted.without_zone:
                remedy = "Name it: --zone America/Chicago, or time.zone in the mapping."
                raise ConfigurationError([Problem("the times say no zone", remedy, self._name)])
            times = converted.readings["time"]
            if len(times):
                found.first_us = min(
                    int(times.min()), found.first_us if found.first_us is not None else int(times.min())
                )
                found.last_us = max(int(times.max()), found.last_us if found.last_us is not None else int(times.max()))
            found.rows += len(times)
            found.refused += len(converted.rejected)
            found.left_out += converted.unnamed
            more = [{"source": item.source, "reason": item.detail} for _, item in converted.rejected]
            found.examples += more[: _MOST_EXAMPLES - len(found.examples)]
            progress(found.rows)
        found.unknown = list(self._names.unknown)
        return found

    def refuse_unknown(self) -> None:
        """Raise ConfigurationError when the file, once examined, has names that the registry has not."""
        if self._names.unknown:
            raise ConfigurationError(self._names.problems(self._name))

    def store(self, progress: Callable[[int], None] = lambda _rows: None) -> Imported:
        """Store the file; RetryableError when the database goes: the same call goes on later."""
        spool_id = self._spool_id()
        received_us = self._received_us(spool_id)
        validator = Validator(Thresholds.of(self._settings))
        validator.configure(self._connections)
        interval = {tag.tag_id: round(tag.interval_s * 1e6) for item in self._connections for tag in item.tags}
        coverage, seq, rows, resumed = Coverage(interval), 0, 0, 0
        sink, recent = WarmSink(self._settings, spool_id, self._clock), _Recent(self._settings, self._clock, spool_id)
        try:
            for converted in self._converted():
                frames = []
                for entry in self._entries(validator, converted, received_us):
                    seq += 1
                    frames.append(_frame(entry, seq))
                if frames:
                    resumed += sink.commit(frames).skipped
                    recent.give(np.concatenate([frame.readings for frame in frames]))
                coverage.add(converted.readings)
                rows += len(converted.readings)
                progress(rows)
            filled = self._filled(coverage)
            for connection_id in sorted({gap.connection_id for gap in filled}):
                seq += 1
                spans = tuple(
                    Filled(gap.start_us, gap.end_us, gap.tag_id) for gap in filled if gap.connection_id == connection_id
                )
                sink.commit([_frame(Entry(connection_id, received_us, filled=spans), seq)])
        finally:
            sink.close()
            recent.close()
        return self._told(spool_id, len(filled), resumed, recent.missed)

    def _converted(self) -> Iterator[Converted]:
        converter = Converter(self._layout, self._mapping, self._names, self._zone, self._name)
        for piece in pieces(self._path, self._mapping):
            yield converter.convert(piece)

    def _entries(self, validator: Validator, converted: Converted, received_us: int) -> list[Entry]:
        """One entry a connection, by its number; lines without a name go with the tenant's first connection."""
        nobody = self._connections[0].connection_id if self._connections else 0
        rejected = [(connection or nobody, item) for connection, item in converted.rejected]
        which = sorted({*np.unique(converted.connection).tolist(), *(connection for connection, _ in rejected)})
        shares = [Share(one, converted.readings[converted.connection == one], received_us) for one in which]
        checked = validator.check(shares, received_us)[: len(shares)]
        return [
            Entry(
                item.connection_id,
                received_us,
                item.readings,
                tuple(refused for connection, refused in rejected if connection == item.connection_id) + item.rejected,
                duplicates=item.duplicates,
            )
            for item in checked
        ]

    def _spool_id(self) -> UUID:
        tags = [
            (item.connection_id, tag.tag_id, tag.low, tag.high, tag.quantity, tag.sentinels)
            for item in self._connections
            for tag in item.tags
        ]
        said = (digest(self._path), self._mapping.model_dump(mode="json"), self._well, self._zone, tags)
        return uuid5(_NAMESPACE, json.dumps(said, default=str))

    def _received_us(self, spool_id: UUID) -> int:
        """When the first run of this file began: what is in the future, or late, is so in every run."""
        with connect(self._settings, autocommit=True) as conn:
            (first,) = conn.execute(query("import_began"), {"spool_id": spool_id}).fetchone() or (None,)
        return self._clock.micros() if first is None else to_micros(first)

    def _filled(self, coverage: Coverage) -> list[OpenGap]:
        ids = [item.connection_id for item in self._connections]
        with connect(self._settings, autocommit=True) as conn:
            gaps = [
                OpenGap(connection, tag, to_micros(start), to_micros(end))
                for connection, tag, start, end in conn.execute(query("import_open_gaps"), {"connections": ids})
            ]
        tags = {item.connection_id: [tag.tag_id for tag in item.tags] for item in self._connections}
        return coverage.filled(gaps, tags)

    def _told(self, spool_id: UUID, closed: int, resumed: int, hot_missed: int) -> Imported:
        with connect(self._settings, autocommit=True) as conn, conn.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query("import_told"), {"spool_id": spool_id}).fetchone() or {}
        return Imported(spool_id, **row, gaps_closed=closed, resumed_frames=resumed, hot_missed=hot_missed)


class _Recent:
    """Gives Redis what is of the last hours; what it cannot take is counted, as nothing waits for it."""

    def __init__(self, settings: Settings, clock: Clock, spool_id: UUID) -> None:
        self._sink = None if settings.redis_url is None else HotSink(settings, clock, str(spool_id))
        self._since_us = clock.micros() - settings.hot_hours * HOUR_US
        self.missed = 0

    def give(self, readings: Readings) -> None:
        """Add readings, committed, to their hours."""
        recent = readings[readings["time"] >= self._since_us]
        if not len(recent) or self._sink is None:
            return
        try:
            self._sink.append(recent)
        except (redis.RedisError, WellosError):
            self.missed += len(recent)

    def close(self) -> None:
        """Let the connection go."""
        if self._sink is not None:
            self._sink.close()


def _frame(entry: Entry, seq: int) -> Frame:
    ((frame, _),) = parse(entry.encode(seq, entry.encode_payload()), final=True)
    assert isinstance(frame, Frame)  # noqa: S101 - it was encoded just now
    return frame


def _check_well(well: str, connections: Sequence[Connection]) -> None:
    known = sorted({tag.well for item in connections for tag in item.tags})
    if well not in known:
        raise ConfigurationError([Problem("no such well", did_you_mean(well, known), field="--well", value=well)])
