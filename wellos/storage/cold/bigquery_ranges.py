"""Days, times and tags as BigQuery is asked for them: partition ids, query parameters, ranges of a bounded size."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from wellos.readings import Readings

__all__ = [
    "Parameter",
    "days_without",
    "integer",
    "limits",
    "limits_of_day",
    "micros",
    "partition_id",
    "runs",
    "tag_ranges",
    "text",
]

Parameter: TypeAlias = ScalarQueryParameter | ArrayQueryParameter

_DAY_US = 86_400_000_000
_ROWS_OF_A_QUERY = 1 << 20
"""Of reading a whole day: what BigQuery sorts in one go, whatever the day's size."""


def partition_id(day: date) -> str:
    """Return the id of a day's partition, YYYYMMDD."""
    return day.isoformat().replace("-", "")


def micros(day: date) -> int:
    """Return the start of a UTC day, microseconds since 1970."""
    return (day - date(1970, 1, 1)).days * _DAY_US


def limits(since_us: int, until_us: int) -> list[Parameter]:
    """Return the parameters of `time >= @since AND time < @until`."""
    start = datetime(1970, 1, 1, tzinfo=UTC)
    return [
        ScalarQueryParameter("since", "TIMESTAMP", start + timedelta(microseconds=since_us)),
        ScalarQueryParameter("until", "TIMESTAMP", start + timedelta(microseconds=until_us)),
    ]


def limits_of_day(day: date) -> list[Parameter]:
    """Return the same for a UTC day."""
    return limits(micros(day), micros(day + timedelta(days=1)))


def integer(name: str, value: int) -> Parameter:
    """Return an INT64 parameter."""
    return ScalarQueryParameter(name, "INT64", value)


def text(name: str, value: str) -> Parameter:
    """Return a STRING parameter."""
    return ScalarQueryParameter(name, "STRING", value)


def runs(days: Sequence[date]) -> Iterator[tuple[date, date]]:
    """Yield first and last of every run of neighbouring days: one query each."""
    for index, day in enumerate(days):
        if index == 0 or days[index - 1] + timedelta(days=1) != day:
            first = day
        if index == len(days) - 1 or days[index + 1] != day + timedelta(days=1):
            yield first, day


def days_without(readings: Readings, days: Sequence[date]) -> list[date]:
    """Return the days of which there is no reading."""
    found = set(np.unique(readings["time"] // _DAY_US).tolist())
    return [day for day in days if micros(day) // _DAY_US not in found]


def tag_ranges(tags: NDArray[np.int64], counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield first and last tag of ranges that hold about `_ROWS_OF_A_QUERY` rows each."""
    if not tags.size:
        return
    part = (np.cumsum(counts) - 1) // _ROWS_OF_A_QUERY
    starts = np.flatnonzero(np.diff(part, prepend=-1))
    ends = [*(starts[1:] - 1), tags.size - 1]
    for start, end in zip(starts, ends, strict=True):
        yield int(tags[start]), int(tags[end])
