"""Which stretches of a plan the cache may hold: blocks of closed days, named by all that has happened to their days."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from wellos.aggregates import day_window
from wellos.query.plan import days_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from wellos.query.facts import Day, Facts
    from wellos.query.intervals import Interval
    from wellos.query.plan import Piece, Source

__all__ = ["Run", "Segment", "block_sizes", "block_window", "cacheable", "content_name", "runs", "segments"]

_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_ORIGIN = datetime(1970, 1, 1, tzinfo=UTC)
_LONG = timedelta(days=2)
_ROWS_OF_A_BLOCK = 50_000


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a plan; with `days`, a block of the cache, which may reach beyond the range that was asked for."""

    source: Source
    start: datetime
    end: datetime
    days: tuple[Day, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring segments of one source that are read at once: blocks, or a stretch that is none."""

    source: Source
    start: datetime
    end: datetime
    segments: tuple[Segment, ...]


def block_sizes(interval: Interval, expected_s: Iterable[float], span: timedelta) -> tuple[timedelta, ...]:
    """Return the lengths of blocks, longest first: few for a long range, and little more than what was asked for."""
    if interval.relation is None:
        light = sum(_DAY.total_seconds() / each for each in expected_s) <= _ROWS_OF_A_BLOCK
        return (_DAY,) if span > _LONG or (light and span > _DAY / 4) else (_HOUR,)
    return {"1hour": (8 * _DAY, _DAY), "1day": (64 * _DAY, 8 * _DAY, _DAY)}.get(interval.name, (_DAY,))


def block_window(start: datetime, end: datetime, size: timedelta) -> tuple[datetime, datetime]:
    """Return the range widened to whole blocks."""
    return _ORIGIN + (start - _ORIGIN) // size * size, _ORIGIN - (_ORIGIN - end) // size * size


def cacheable(facts: Facts, today: date, *, aggregate: bool) -> Callable[[date], bool]:
    """Return the rule: a day is over, every change of it is noted, and its buckets show them all."""
    stale: set[date] = set()
    for low, high in facts.stale if aggregate else ():
        stale.update(days_of(low, high))

    def rule(day: date) -> bool:
        known = facts.days.get(day)
        return day < today and known is not None and known.settled and day not in stale

    return rule


def segments(
    pieces: Iterable[Piece], facts: Facts, rule: Callable[[date], bool], sizes: Sequence[timedelta]
) -> Iterator[Segment]:
    """Divide the pieces of a plan over whole blocks, in order of time.

    A block is one where all its days may be cached and come from one source; where not, shorter ones are tried.
    """
    for piece in pieces:
        at = piece.start
        for block in _blocks(piece, facts, rule, sizes) if piece.source != "hot" else ():
            if block.start > at:
                yield Segment(piece.source, at, block.start)
            yield block
            at = block.end
        if at < piece.end:
            yield Segment(piece.source, at, piece.end)


def _blocks(piece: Piece, facts: Facts, rule: Callable[[date], bool], sizes: Sequence[timedelta]) -> Iterator[Segment]:
    done = piece.start
    held = {day: facts.days[day] for day in sorted(filter(rule, facts.days))}
    given_up: set[tuple[datetime, datetime]] = set()
    for day in held:
        for start, end in _cells(day, sizes):
            if start < done or end > piece.end or (start, end) in given_up:
                continue
            days = days_of(start, end)
            if held.keys() >= set(days):
                yield Segment(piece.source, start, end, tuple(held[each] for each in days))
                done = end
            else:
                given_up.add((start, end))


def _cells(day: date, sizes: Sequence[timedelta]) -> list[tuple[datetime, datetime]]:
    """Return the blocks to try that hold a day, longest first, or that it is divided into."""
    start, _ = day_window(day)
    (shortest,) = sizes[-1:]
    if shortest < _DAY:
        return [(start + number * shortest, start + (number + 1) * shortest) for number in range(_DAY // shortest)]
    firsts = [(_ORIGIN + (start - _ORIGIN) // size * size, size) for size in sizes]
    return [(first, first + size) for first, size in firsts]


def runs(wanted: Sequence[Segment]) -> Iterator[Run]:
    """Join neighbouring blocks of one source into runs; a stretch that is no block stays alone."""
    joined: list[Segment] = []
    for segment in wanted:
        last = joined[-1] if joined else None
        if last and not (last.days and segment.days and last.source == segment.source and last.end == segment.start):
            yield Run(last.source, joined[0].start, last.end, tuple(joined))
            joined = []
        joined.append(segment)
    if joined:
        yield Run(joined[0].source, joined[0].start, joined[-1].end, tuple(joined))


def content_name(scope: Sequence[object], interval: str, tag_ids: Sequence[int], segment: Segment) -> str:
    """Return the name of what a block holds: after any change of its days or their proof, it has another name."""
    days = [
        (day.day.toordinal(), day.place, day.changes, day.newest_change, day.receipt_id, day.lost is None)
        for day in segment.days
    ]
    text = repr((*scope, interval, list(tag_ids), segment.start, segment.end, days))
    return hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
