"""One page of a long answer: walks through time in windows until the page is full."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl

from wellos.clock import from_micros, to_micros
from wellos.errors import ConfigurationError, Problem
from wellos.query import frames
from wellos.query.intervals import ceil, estimate
from wellos.query.tiers import TooManyError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from wellos.quality import Quality
    from wellos.query.answer import Answerer
    from wellos.query.assembly import Question
    from wellos.query.provenance import Part

__all__ = ["Page", "read_page"]

_SHORTEST = timedelta(minutes=15)
"""Where little comes, a page is not looked for by the second."""
_LEAST = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows, in order of time and tag, and the cursor of the page after it."""

    frame: pl.DataFrame
    parts: Sequence[Part]
    watermark: datetime
    next: str | None


def read_page(
    answerer: Answerer, question: Question, qualities: Collection[Quality], limit: int, cursor: str | None
) -> Page:
    """Return the next `limit` rows of the question after the cursor; ConfigurationError for one that is none.

    Each window is an answer of its own, of its own moment; a page is in memory, the range never is.
    """
    at, after = (question.start, -1) if cursor is None else _parse(cursor, question)
    if question.interval.width is not None:
        at = max(question.start, min(at, question.end))
    found: list[pl.DataFrame] = []
    parts: list[Part] = []
    watermark, held, first = question.end, 0, at
    width = _window(question, limit)
    while at < question.end and held <= limit:
        until = min(question.end, ceil(question.interval, at + width))
        try:
            answer = answerer.answer(replace(question, start=at, end=until))
        except TooManyError:
            if width <= _LEAST:
                raise
            width /= 8
            continue
        frame = frames.finish(answer.found, question.interval, question.scope.tags, qualities)
        if at == first and after >= 0:
            frame = _after(frame, question, first, after)
        found.append(frame)
        parts += answer.parts
        watermark, held = min(watermark, answer.watermark), held + len(frame)
        at, width = until, width if len(frame) else 4 * width
    rows = pl.concat(found) if found else frames.finish([], question.interval, question.scope.tags, qualities)
    if len(rows) <= limit:
        return Page(rows, parts, watermark, None)
    rows = rows.head(limit)
    return Page(rows, parts, watermark, _cursor(rows, question))


def _window(question: Question, limit: int) -> timedelta:
    """Return a span in which about a page is to be expected, and no more than may be read at once."""
    span = question.end - question.start
    rows = max(
        1, estimate(question.base, [tag.interval_s for tag in question.scope.tags], question.start, question.end)
    )
    return max(_SHORTEST, min(span, span * (min(limit, question.most) / rows)))


def _cursor(rows: pl.DataFrame, question: Question) -> str:
    last = rows.row(-1, named=True)
    ids = {tag.name: tag.tag_id for tag in question.scope.tags}
    return f"{to_micros(last['time'])}.{ids[last['tag']]}"


def _parse(cursor: str, question: Question) -> tuple[datetime, int]:
    micros, _, tag = cursor.partition(".")
    try:
        at, after = from_micros(int(micros)), int(tag)
    except (ValueError, OverflowError):
        at, after = question.end, -1
    if after < 0 or not question.start <= at < question.end:
        remedy = "Give the `next` of the page before, and everything else as it was"
        raise ConfigurationError([Problem("is not of this query", remedy, field="cursor", value=cursor)])
    return at, after


def _after(frame: pl.DataFrame, question: Question, at: datetime, tag_id: int) -> pl.DataFrame:
    """Leave out the rows of the cursor's moment that the page before had."""
    before = [tag.name for tag in question.scope.tags if tag.tag_id <= tag_id]
    return frame.filter(~((pl.col("time") == at) & pl.col("tag").cast(pl.String).is_in(before)))
