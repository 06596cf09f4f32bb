"""The shape of a question and of its answer: pure, from stretches that were read and blocks that were cached."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from wellos.query import frames
from wellos.query.intervals import INTERVALS
from wellos.query.provenance import Part
from wellos.query.tiers import TooManyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    import polars as pl

    from wellos.query.blocks import Run, Segment
    from wellos.query.facts import Facts
    from wellos.query.intervals import Interval
    from wellos.query.names import Scope
    from wellos.query.provenance import Tier

__all__ = ["Answer", "Planned", "Question", "Served", "assembled", "divided"]


@dataclass(frozen=True, slots=True)
class Question:
    """A query with its names resolved; start and end lie on the edges of buckets."""

    scope: Scope
    interval: Interval
    start: datetime
    end: datetime
    most: int
    """Rows; more is refused."""
    asked_at: datetime

    @property
    def base(self) -> Interval:
        """What is read: weeks and months are rolled up from days."""
        wide = self.interval.relation == "readings_1day"
        return INTERVALS["1day"] if wide else self.interval


@dataclass(frozen=True, slots=True)
class Planned:
    """What is to be read, in order of time, and the names of the blocks among it."""

    facts: Facts
    segments: tuple[Segment, ...]
    names: Mapping[Segment, str]


@dataclass(frozen=True, slots=True)
class Served:
    """What was read at once, and where."""

    run: Run
    frame: pl.DataFrame
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Frames of `frames.RAW` or `frames.BUCKETS` by stretch, and where they came from, in order of time."""

    found: Sequence[pl.DataFrame]
    parts: Sequence[Part]
    watermark: datetime


def divided(served: Iterable[Served]) -> Iterator[tuple[Segment, pl.DataFrame]]:
    """Yield the blocks of what was read."""
    for one in served:
        for segment in one.run.segments:
            if segment.days:
                whole = len(one.run.segments) == 1
                yield segment, one.frame if whole else frames.clipped(one.frame, segment.start, segment.end)


def assembled(
    question: Question, planned: Planned, served: Iterable[Served], held: Mapping[str, pl.DataFrame], store: str
) -> Answer:
    """Put what was read and what was cached together, within the range asked for; TooManyError beyond its `most`.

    `store` is the name of the archive.
    """
    span = (question.start, question.end)
    origins: Mapping[str, tuple[Tier, str]] = {
        "aggregate": ("warm", question.interval.relation or ""),
        "warm": ("warm", "readings"),
        "cold": ("cold", store),
    }
    found, parts = [], []
    for one in served:
        found.append(_clipped(one.frame, one.run, *span))
        parts += [_within(part, *span) for part in one.parts]
    for segment, name in planned.names.items():
        if name in held:
            found.append(_clipped(held[name], segment, *span))
            tier, relation = origins[segment.source]
            part = Part(tier, relation, segment.start, segment.end, len(found[-1]), cached=True, cacheable=True)
            parts.append(_within(part, *span))
    if sum(map(len, found)) > question.most:
        raise TooManyError(question.most)
    return Answer(found, _joined(parts), _watermark(question, planned))


def _clipped(frame: pl.DataFrame, stretch: Run | Segment, start: datetime, end: datetime) -> pl.DataFrame:
    inside = stretch.start >= start and stretch.end <= end
    return frame if inside else frames.clipped(frame, start, end)


def _within(part: Part, start: datetime, end: datetime) -> Part:
    return replace(part, start=max(part.start, start), end=min(part.end, end))


def _joined(parts: Iterable[Part]) -> list[Part]:
    """Order parts by time, an overlay after its archive, and join neighbours that came out of the cache."""
    joined: list[Part] = []
    for part in sorted(parts, key=lambda part: part.start):
        last = joined[-1] if joined else None
        if last and last.cached and part.cached and (last.tier, last.relation) == (part.tier, part.relation):
            joined[-1] = replace(last, end=part.end, rows=last.rows + part.rows)
        else:
            joined.append(part)
    return joined


def _watermark(question: Question, planned: Planned) -> datetime:
    """Up to where nothing is missing: until now, or until the first bucket that does not show yet what changed."""
    stale = [
        max(low, segment.start, question.start)
        for low, high in planned.facts.stale
        for segment in planned.segments
        if segment.source == "aggregate"
        and low < min(segment.end, question.end)
        and high > max(segment.start, question.start)
    ]
    return min([question.asked_at, question.end, *stale])
