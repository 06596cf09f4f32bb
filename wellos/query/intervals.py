"""How fine an answer is: the interval asked for, else one that fits the range; and what is too fine for its length."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from wellos.aggregates import day_floor
from wellos.errors import ConfigurationError, Problem
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

__all__ = ["INTERVALS", "Interval", "automatic", "ceil", "choose", "estimate", "floor", "named"]

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Interval:
    """One way to divide time: `width` of its buckets (None: single readings), and the relation that it is read from."""

    name: str
    width: timedelta | None
    relation: str | None
    """None: raw readings. Buckets wider than the relation's are rolled up."""


INTERVALS = {
    item.name: item
    for item in (
        Interval("raw", None, None),
        Interval("15s", timedelta(seconds=15), None),
        Interval("1min", timedelta(minutes=1), "readings_1min"),
        Interval("5min", timedelta(minutes=5), "readings_5min"),
        Interval("1hour", timedelta(hours=1), "readings_1hour"),
        Interval("1day", _DAY, "readings_1day"),
        Interval("1week", timedelta(days=7), "readings_1day"),
        Interval("1month", timedelta(days=30), "readings_1day"),
    )
}
"""Finest first. Weeks begin on Monday, months on the first, all at midnight UTC; a month's width here is nominal."""


def named(name: str) -> Interval:
    """Return the interval of this name; ConfigurationError names the nearest one."""
    found = INTERVALS.get(name)
    if found is None:
        remedy = did_you_mean(name, INTERVALS)
        raise ConfigurationError([Problem("no such interval", remedy, field="interval", value=name)])
    return found


def automatic(span: timedelta) -> str:
    """Return the interval for a range of this length: up to a day raw, 7 days 1 min, 30 days 1 h, else 1 day."""
    if span <= _DAY:
        return "raw"
    if span <= timedelta(days=7):
        return "1min"
    return "1hour" if span <= timedelta(days=30) else "1day"


def floor(interval: Interval, moment: datetime) -> datetime:
    """Start of the bucket that a moment falls into; the moment itself for raw."""
    if interval.width is None:
        return moment
    midnight = day_floor(moment)
    if interval.name == "1month":
        return midnight.replace(day=1)
    if interval.name == "1week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight + (moment - midnight) // interval.width * interval.width


def ceil(interval: Interval, moment: datetime) -> datetime:
    """Start of the first bucket that does not begin before a moment."""
    start = floor(interval, moment)
    if interval.width is None or start == moment:
        return start
    return floor(interval, start + interval.width + (timedelta(days=2) if interval.name == "1month" else timedelta()))


def estimate(interval: Interval, expected_s: Iterable[float], start: datetime, end: datetime) -> int:
    """Rows to be read for tags of these expected intervals in seconds: those that are grouped here count as raw."""
    span = (end - start).total_seconds()
    width = interval.width.total_seconds() if interval.width is not None and interval.relation is not None else 0.0
    return sum(math.ceil(span / max(width, each)) for each in expected_s)


def choose(
    asked: str | None, expected_s: Sequence[float], start: datetime, end: datetime, most: int, *, paged: bool
) -> Interval:
    """Return the interval to read in.

    The one asked for wins. ConfigurationError when more than `most` rows are to be expected of it, naming a coarser
    one that is not; not so for pages. The automatic choice goes coarser by itself.
    """
    chosen = named(asked) if asked is not None else INTERVALS[automatic(end - start)]
    rows = estimate(chosen, expected_s, start, end)
    if paged or rows <= most:
        return chosen
    order = list(INTERVALS.values())
    coarser = order[order.index(chosen) + 1 :]
    fits = next((item for item in coarser if estimate(item, expected_s, start, end) <= most), None)
    if asked is None:
        return fits or order[-1]
    if fits is None:
        remedy = "Ask for fewer tags or less time, or for pages with limit="
    else:
        remedy = (
            f"Ask for interval={fits.name!r}, about {estimate(fits, expected_s, start, end):,} rows, or for pages "
            "with limit="
        )
    message = f"would give about {rows:,} rows; the most in one answer is {most:,} (WELLOS_QUERY_MAX_ROWS)"
    raise ConfigurationError([Problem(message, remedy, field="interval", value=chosen.name)])
