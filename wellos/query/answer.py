"""Answers a question whose names are resolved: plans, reads every stretch from its tier, and sees that none moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import psycopg

from wellos.aggregates import day_floor
from wellos.clock import WallClock
from wellos.errors import RetryableError
from wellos.query import frames
from wellos.query.facts import read_facts, read_overlay_days
from wellos.query.intervals import INTERVALS
from wellos.query.plan import days_of, plan
from wellos.query.provenance import Part
from wellos.query.tiers import TooManyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    import polars as pl

    from wellos.clock import Clock
    from wellos.query.facts import Facts
    from wellos.query.intervals import Interval
    from wellos.query.names import Scope
    from wellos.query.plan import Piece
    from wellos.query.tiers import Cold, Warm
    from wellos.settings import Settings

__all__ = ["Answer", "Answerer", "MovedError", "Question"]

_ATTEMPTS = 5


class MovedError(RetryableError):
    """Days were dropped or restored each time while they were read."""


class _MovedMeanwhile(Exception):  # noqa: N818 - no failure: what was read may have a hole, and is read again
    pass


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
class Answer:
    """Frames of `frames.RAW` or `frames.BUCKETS` by stretch, in order of time, and where they came from."""

    found: Sequence[pl.DataFrame]
    parts: Sequence[Part]
    watermark: datetime


@dataclass(frozen=True, slots=True)
class _Served:
    frame: pl.DataFrame
    parts: tuple[Part, ...]


class Answerer:
    """Puts tiers together. Threads may share one."""

    def __init__(self, settings: Settings, clock: Clock, warm: Warm, cold: Cold, threads: Executor) -> None:
        self._settings, self._clock = settings, clock
        self._warm, self._cold, self._threads = warm, cold, threads

    def answer(self, question: Question) -> Answer:
        """Read everything that the question asks for.

        ConfigurationError beyond `most` rows; ColdError, with the day, when the archive cannot serve; MovedError.
        """
        for _ in range(_ATTEMPTS):
            try:
                found = self._attempt(question)
            except (_MovedMeanwhile, psycopg.errors.UndefinedTable, psycopg.errors.InternalError_):
                continue  # a partition or chunk went away under the query
            if sum(map(len, found.found)) > question.most:
                raise TooManyError(question.most)
            return found
        raise MovedError(
            f"days of {question.start:%Y-%m-%d} to {question.end:%Y-%m-%d} were dropped or restored each of the "
            f"{_ATTEMPTS} times that they were read. Try again."
        )

    def _attempt(self, question: Question) -> Answer:
        facts, pieces = self._plan(question)
        serving = [self._threads.submit(self._serve, question, piece) for piece in pieces]
        served = [each.result() for each in serving]
        # A day may have been dropped or restored under the query: then there may be a hole, or something twice.
        moved = any(piece.source in {"warm", "cold"} for piece in pieces)
        if moved and self._facts(question).places != facts.places:
            raise _MovedMeanwhile
        return Answer(
            [one.frame for one in served],
            [part for one in served for part in one.parts],
            _watermark(question, facts, pieces),
        )

    def _plan(self, question: Question) -> tuple[Facts, tuple[Piece, ...]]:
        aggregate = question.interval.relation is not None
        with self._warm.connection() as conn:
            facts = read_facts(conn, question.start, question.end, question.interval.relation)
            dropped = [day for day, known in facts.days.items() if aggregate and known.dropped_at is not None]
            overlaid = read_overlay_days(conn, question.scope.tag_ids, dropped)
        kept = day_floor(WallClock().now()) - timedelta(days=self._settings.aggregate_days - 1)
        pieces = plan(
            question.start, question.end, facts, aggregate=aggregate, kept_from=kept, overlaid=frozenset(overlaid)
        )
        return facts, pieces

    def _facts(self, question: Question) -> Facts:
        with self._warm.connection() as conn:
            return read_facts(conn, question.start, question.end, None)

    def _serve(self, question: Question, piece: Piece) -> _Served:
        begun = self._clock.monotonic()
        made = self._read(question, piece)
        spent = 1000 * (self._clock.monotonic() - begun)
        return _Served(made.frame, tuple(replace(part, milliseconds=spent) for part in made.parts))

    def _read(self, question: Question, piece: Piece) -> _Served:
        tags, span = question.scope.tag_ids, (piece.start, piece.end)
        relation = question.interval.relation
        if piece.source == "aggregate" and relation is not None:
            frame = self._warm.buckets(relation, tags, *span)
            return _Served(frame, (Part("warm", relation, *span, rows=len(frame)),))
        if piece.source == "cold":
            cold = self._cold.readings(question.scope, days_of(*span), *span, question.most)
            readings = cold.readings
            parts = [Part("cold", cold.store, *span, rows=cold.rows, bytes_scanned=cold.bytes_scanned)]
            if cold.late:
                parts.append(Part("overlay", "readings", *span, rows=cold.late))
        else:
            readings = self._warm.readings(tags, *span, question.most)
            parts = [Part("warm", "readings", *span, rows=len(readings))]
        frame = frames.raw_frame(readings)
        return _Served(frame if relation is None else frames.recomputed(frame, question.base), tuple(parts))


def _watermark(question: Question, facts: Facts, pieces: Sequence[Piece]) -> datetime:
    """Up to where nothing is missing: until now, or until the first bucket that does not show yet what changed."""
    stale = [
        max(low, piece.start)
        for low, high in facts.stale
        for piece in pieces
        if piece.source == "aggregate" and low < piece.end and high > piece.start
    ]
    return min([question.asked_at, question.end, *stale])
