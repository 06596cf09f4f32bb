"""Made-up minutes of a field for `benchmarks query`, and what every aggregate has to make of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["MINUTES", "Minutes", "by_tag", "by_well", "minutes"]

MINUTES = 24 * 60
_NOT_GOOD = 0.004


@dataclass(frozen=True, slots=True)
class Minutes:
    """A day of readings, a row a tag and a column a minute."""

    values: NDArray[np.float64]
    quality: NDArray[np.uint8]


def minutes(day: int, tags: int, count: int = MINUTES) -> Minutes:
    """Return the first `count` minutes of a day: a level of each tag, a swing over the day, noise, some not GOOD."""
    random = np.random.default_rng([7, day])
    level = 50 + 37 * (np.arange(tags) % 23)[:, np.newaxis]
    swing = np.sin(2 * np.pi * np.arange(count) / MINUTES + day)
    values = level * (1 + 0.05 * swing) + random.normal(0, 2, (tags, count))
    quality = np.full((tags, count), Quality.GOOD, np.uint8)
    quality[random.random((tags, count)) < _NOT_GOOD] = Quality.UNCERTAIN
    quality[random.random((tags, count)) < _NOT_GOOD] = Quality.BAD
    return Minutes(values.round(2), quality)


def by_tag(day: Minutes, buckets: int) -> dict[str, NDArray[Any]]:
    """Return what `readings_1hour` (24 buckets) or `readings_1day` (1) holds of a whole day, tag by tag."""
    values, quality = _cut(day.values, buckets), _cut(day.quality, buckets)
    good = quality == Quality.GOOD
    first = good.argmax(-1)[..., np.newaxis]
    last = values.shape[-1] - 1 - good[..., ::-1].argmax(-1)[..., np.newaxis]
    return {
        **_counts(quality),
        "sum": np.where(good, values, 0).sum(-1),
        "sum_sq": np.where(good, values * values, 0).sum(-1),
        "min": np.where(good, values, np.inf).min(-1),
        "max": np.where(good, values, -np.inf).max(-1),
        "first": np.take_along_axis(values, first, -1)[..., 0],
        "last": np.take_along_axis(values, last, -1)[..., 0],
    }


def by_well(day: Minutes, buckets: int, places: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    """Return what `telemetry_hourly` or `telemetry_daily` is made of, well by well.

    `places` gives each metric the rows of its tags, one a well, in the order of the wells.
    """
    columns: dict[str, NDArray[Any]] = {}
    counts: dict[str, NDArray[Any]] = {}
    for metric, rows in places.items():
        part = Minutes(day.values[rows], day.quality[rows])
        made = by_tag(part, buckets)
        for name in ("n", "n_good", "n_uncertain", "n_bad"):
            counts[name] = counts.get(name, 0) + made[name]
        columns[f"{metric}_n"] = made["n_good"]
        columns |= {f"{metric}_{name}": made[name] for name in ("sum", "sum_sq", "min", "max")}
        columns[f"{metric}_median"] = _medians(part, buckets)
    return counts | columns


def _cut(rows: NDArray[Any], buckets: int) -> NDArray[Any]:
    return rows.reshape(len(rows), buckets, -1)


def _counts(quality: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    counts = {"n": np.full(quality.shape[:-1], quality.shape[-1])}
    for name, which in (("n_good", Quality.GOOD), ("n_uncertain", Quality.UNCERTAIN), ("n_bad", Quality.BAD)):
        counts[name] = np.count_nonzero(quality == which, axis=-1)
    return counts


def _medians(day: Minutes, buckets: int) -> NDArray[np.float64]:
    """Medians of the GOOD values: sorted, the others last."""
    values = np.sort(np.where(day.quality == Quality.GOOD, day.values, np.inf).reshape(len(day.values), buckets, -1))
    count = np.count_nonzero(np.isfinite(values), axis=-1)[..., np.newaxis]
    low = np.take_along_axis(values, (count - 1) // 2, -1)
    high = np.take_along_axis(values, count // 2, -1)
    medians: NDArray[np.float64] = (low + (high - low) / 2)[..., 0]
    return medians
