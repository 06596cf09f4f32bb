"""Which tier serves which stretch of a range: pure rules, without gap or overlap."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from wellos.aggregates import day_floor, day_window

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet
    from datetime import date, datetime

    from wellos.query.facts import Facts

__all__ = ["Piece", "Source", "days_of", "plan"]

Source = Literal["hot", "warm", "cold", "aggregate"]
"""hot: Redis; warm: `readings`; cold: the archive with its overlay; aggregate: the aggregate asked for."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch [start, end) that one source serves."""

    source: Source
    start: datetime
    end: datetime


def plan(
    start: datetime,
    end: datetime,
    facts: Facts,
    *,
    aggregate: bool,
    kept_from: datetime,
    overlaid: AbstractSet[date] = frozenset(),
    hot_from: datetime | None = None,
) -> tuple[Piece, ...]:
    """Say what serves [start, end), in order of time.

    Readings: of a dropped day from the archive, else from the warm tier, from `hot_from` on from Redis. Buckets: from
    the aggregate, which outlives the readings it was made from; but what is older than `kept_from` (midnight UTC) may
    have left it, and in dropped days that late readings came for (`overlaid`) it stands still: these are recomputed.
    """
    dropped = {day for day, known in facts.days.items() if known.dropped_at is not None}
    edges = {start, end}
    for day in dropped:
        edges.update(day_window(day))
    edges.add(kept_from if aggregate else hot_from or start)

    def source(moment: datetime) -> Source:
        day = day_floor(moment).date()
        if aggregate and moment >= kept_from and day not in overlaid:
            return "aggregate"
        if day in dropped:
            return "cold"
        return "hot" if not aggregate and hot_from is not None and moment >= hot_from else "warm"

    pieces: list[Piece] = []
    for since, until in pairwise(sorted(edge for edge in edges if start <= edge <= end)):
        found = source(since)
        if pieces and pieces[-1].source == found:
            pieces[-1] = Piece(found, pieces[-1].start, until)
        else:
            pieces.append(Piece(found, since, until))
    return tuple(pieces)


def days_of(start: datetime, end: datetime) -> list[date]:
    """Return the UTC days that [start, end) touches."""
    first, last = start.date(), (end - timedelta(microseconds=1)).date()
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]
