"""Answers a question whose names are resolved: plans, reads every stretch from its tier, and sees that none moved."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING

import polars as pl
import psycopg

from wellos.aggregates import day_floor
from wellos.clock import WallClock
from wellos.errors import RetryableError
from wellos.query import frames
from wellos.query.assembly import Planned, Question, Served, assembled, divided
from wellos.query.blocks import block_sizes, block_window, cacheable, content_name, runs, segments
from wellos.query.cache import Flight
from wellos.query.facts import read_cluster, read_facts, read_overlay_days
from wellos.query.intervals import INTERVALS, estimate
from wellos.query.plan import days_of, plan
from wellos.query.provenance import Part
from wellos.query.tiers import TooManyError
from wellos.storage.cold import DamagedCopyError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor
    from datetime import date, datetime

    from wellos.clock import Clock
    from wellos.query.assembly import Answer
    from wellos.query.blocks import Run, Segment
    from wellos.query.cache import Cache
    from wellos.query.facts import Facts
    from wellos.query.hot import Hot
    from wellos.query.provenance import Tier
    from wellos.query.tiers import Cold, Warm
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["Answerer", "MovedError", "Tiers"]

_ATTEMPTS = 5
_DAY = timedelta(days=1)
_DENSEST = 16
"""Times as many readings as one answer may have rows are still read at once to be summed up: tags may be fast."""


class MovedError(RetryableError):
    """Days were dropped or restored each time while they were read."""


class _MovedMeanwhile(Exception):  # noqa: N818 - no failure: what was read may have a hole, and is read again
    pass


class _Mode(Enum):
    """How an attempt deals with the cache."""

    SHARED = auto()
    """Blocks that others are fetching are waited for."""
    ALONE = auto()
    """What is missing is fetched, whoever else does."""
    EXACT = auto()
    """No cache, and no more is read than was asked for."""


@dataclass(frozen=True, slots=True)
class Tiers:
    """What answers are made from."""

    hot: Hot
    warm: Warm
    cold: Cold
    cache: Cache


class Answerer:
    """Puts tiers together. Threads may share one."""

    def __init__(self, settings: Settings, clock: Clock, tiers: Tiers, threads: Executor) -> None:
        self._settings, self._clock, self._threads = settings, clock, threads
        self._hot, self._warm, self._cold, self._cache = tiers.hot, tiers.warm, tiers.cold, tiers.cache
        self._cluster: str | None = None

    def answer(self, question: Question) -> Answer:
        """Read everything that the question asks for.

        ConfigurationError beyond `most` rows; ColdError, with the day, when the archive cannot serve; MovedError.
        """
        moved, mode = 0, _Mode.SHARED
        while moved < _ATTEMPTS:
            try:
                found = self._attempt(question, mode)
            except (_MovedMeanwhile, psycopg.errors.UndefinedTable, psycopg.errors.InternalError_):
                moved += 1  # a partition or chunk went away under the query
            except (TooManyError, DamagedCopyError):
                if mode is _Mode.EXACT:
                    raise
                mode = _Mode.EXACT  # whole blocks are more than the range: what is wrong may lie outside
            else:
                if found is not None:
                    return found
                mode = _Mode.ALONE
        raise MovedError(
            f"days of {question.start:%Y-%m-%d} to {question.end:%Y-%m-%d} were dropped or restored each of the "
            f"{_ATTEMPTS} times that they were read. Try again."
        )

    def _attempt(self, question: Question, mode: _Mode) -> Answer | None:
        """Read once; None when somebody else's fetch was waited for and did not come."""
        plan = self._plan(question, mode)
        cached = self._cache.get(list(plan.names.values())) if plan.names else {}
        missing = [name for name in plan.names.values() if name not in cached]
        flight = self._cache.claim(missing) if mode is _Mode.SHARED else Flight()
        others = {*flight.theirs, *flight.remote}
        try:
            wanted = [one for one in plan.segments if plan.names.get(one, "") not in cached.keys() | others]
            served = self._serve(question, plan.facts, list(runs(wanted)))
            proven = self._proven(question, plan, wanted)
            fetched = dict(divided(served))
            self._cache.land(
                flight,
                {name: fetched[one] for one, name in plan.names.items() if name in flight.mine and one in proven},
            )
            held = cached | self._cache.wait(flight)
        finally:
            self._cache.settle(flight)
        if others - held.keys():
            return None
        return assembled(question, plan, served, held, self._cold.store)

    def _plan(self, question: Question, mode: _Mode) -> Planned:
        """Read the facts and plan, over whole blocks where the cache is used."""
        interval, aggregate = question.base, question.interval.relation is not None
        start, end = question.start, question.end
        sizes = block_sizes(interval, [tag.interval_s for tag in question.scope.tags], end - start)
        caching = self._cache.on and mode is not _Mode.EXACT
        if caching:
            start, end = block_window(start, end, sizes[0])
        with self._warm.connection() as conn:
            if self._cluster is None:
                self._cluster = read_cluster(conn)
            facts = self._facts(conn, question, start, end, question.interval.relation)
            dropped = [day for day, known in facts.days.items() if aggregate and known.dropped_at is not None]
            overlaid = read_overlay_days(conn, question.scope.tag_ids, dropped)
        kept = day_floor(WallClock().now()) - timedelta(days=self._settings.aggregate_days - 1)
        hot_from = None if aggregate else self._hot.since(question.scope.tag_ids)
        pieces = plan(
            start, end, facts, aggregate=aggregate, kept_from=kept, overlaid=frozenset(overlaid), hot_from=hot_from
        )
        rule = cacheable(facts, question.asked_at.date(), aggregate=aggregate) if caching else _never
        found = []
        for one in segments(pieces, facts, rule, sizes):
            if one.end > question.start and one.start < question.end:
                clipped = replace(one, start=max(one.start, question.start), end=min(one.end, question.end))
                found.append(one if one.days else clipped)
        scope = (self._cluster, question.scope.tenant_id)
        names = {one: content_name(scope, interval.name, question.scope.tag_ids, one) for one in found if one.days}
        return Planned(facts, tuple(found), names)

    def _facts(
        self, conn: PgConnection, question: Question, start: datetime, end: datetime, relation: str | None
    ) -> Facts:
        return read_facts(conn, question.scope.tenant_id, self._cold.store, start, end, relation)

    def _proven(self, question: Question, planned: Planned, wanted: Sequence[Segment]) -> set[Segment]:
        """Return the blocks that are what their names say: nothing happened to their days while they were read.

        Raises _MovedMeanwhile where a day was dropped or restored under the query: there may be a hole, or something
        twice.
        """
        if not any(one.days or one.source != "aggregate" for one in wanted):
            return set()
        blocks = [one for one in wanted if one.days]
        start = min(one.start for one in wanted)
        end = max(one.end for one in wanted)
        with self._warm.connection() as conn:
            after = self._facts(conn, question, start, end, question.interval.relation if blocks else None)
        days = {day for one in wanted if one.source != "aggregate" for day in days_of(one.start, one.end)}
        if any(after.place(day) != planned.facts.place(day) for day in days):
            raise _MovedMeanwhile
        rule = cacheable(after, question.asked_at.date(), aggregate=question.interval.relation is not None)
        return {one for one in blocks if all(rule(day.day) and after.days[day.day] == day for day in one.days)}

    def _serve(self, question: Question, facts: Facts, wanted: Sequence[Run]) -> list[Served]:
        if len(wanted) <= 1:
            return [self._timed(question, facts, run) for run in wanted]
        return [each.result() for each in [self._threads.submit(self._timed, question, facts, run) for run in wanted]]

    def _timed(self, question: Question, facts: Facts, run: Run) -> Served:
        begun = self._clock.monotonic()
        made = self._read(question, facts, run)
        spent = 1000 * (self._clock.monotonic() - begun)
        return Served(run, made.frame, tuple(replace(part, milliseconds=spent) for part in made.parts))

    def _read(self, question: Question, facts: Facts, run: Run) -> Served:
        relation, blocks = question.interval.relation, bool(run.segments[0].days)
        if relation is None:
            readings, parts = self._read_readings(question, facts, run, question.most)
            frame = frames.raw_frame(readings)
        elif run.source == "aggregate":
            frame = self._warm.buckets(relation, question.scope.tag_ids, run.start, run.end)
            parts = [Part("warm", relation, run.start, run.end, rows=len(frame))]
        else:
            frame, parts = self._recompute(question, facts, run)
        return Served(run, frame, tuple(replace(one, cacheable=blocks and one.tier != "overlay") for one in parts))

    def _read_readings(self, question: Question, facts: Facts, run: Run, most: int) -> tuple[Readings, list[Part]]:
        tags, span = question.scope.tag_ids, (run.start, run.end)
        if run.source == "cold":
            days = [facts.days[day] for day in days_of(*span)]
            cold = self._cold.readings(question.scope, days, *span, most)
            parts = [Part("cold", cold.store, *span, rows=cold.rows, bytes_scanned=cold.bytes_scanned)]
            if cold.late:
                parts.append(Part("overlay", "readings", *span, rows=cold.late))
            return cold.readings, parts
        if run.source == "hot" and (held := self._hot_readings(question, run)) is not None:
            return held, [Part("hot", "scada:hour", *span, rows=len(held))]
        readings = self._warm.readings(tags, *span, most)
        return readings, [Part("warm", "readings", *span, rows=len(readings))]

    def _recompute(self, question: Question, facts: Facts, run: Run) -> tuple[pl.DataFrame, list[Part]]:
        """Make buckets from readings, some days at a time: the readings of years are never in memory at once."""
        rows = estimate(INTERVALS["raw"], [tag.interval_s for tag in question.scope.tags], run.start, run.start + _DAY)
        step, at = _DAY * max(1, question.most // max(1, rows)), run.start
        found: list[pl.DataFrame] = []
        summed: dict[Tier, Part] = {}
        while at < run.end:
            until = min(run.end, day_floor(at) + step)
            some = replace(run, start=at, end=until)
            readings, parts = self._read_readings(question, facts, some, _DENSEST * question.most)
            found.append(frames.recomputed(frames.raw_frame(readings), question.base))
            for part in parts:
                before = summed.get(part.tier, replace(part, rows=0, bytes_scanned=0))
                scanned = before.bytes_scanned + part.bytes_scanned
                summed[part.tier] = replace(
                    part, start=run.start, end=run.end, rows=before.rows + part.rows, bytes_scanned=scanned
                )
            at = until
        return pl.concat(found), list(summed.values())

    def _hot_readings(self, question: Question, run: Run) -> Readings | None:
        with self._warm.connection() as conn:
            return self._hot.readings(conn, question.scope.tag_ids, run.start, run.end)


def _never(_: date) -> bool:
    return False
