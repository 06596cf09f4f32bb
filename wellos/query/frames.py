"""The Polars side of a query: readings and buckets as frames, rolled up, and in the columns that people get."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from wellos.aggregate_sample import recompute
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from wellos.query.intervals import Interval
    from wellos.query.names import KnownTag
    from wellos.readings import Readings

__all__ = ["BUCKETS", "RAW", "buckets_frame", "clipped", "finish", "raw_frame", "recomputed"]

TIME = pl.Datetime("us", "UTC")
RAW = pl.Schema(
    {"time": TIME, "tag_id": pl.Int32(), "value": pl.Float64(), "quality": pl.UInt8(), "status": pl.UInt32()}
)
"""Readings as they are handed from part to part."""

_COUNTS = ("n", "n_good", "n_uncertain", "n_bad")
_STATISTICS = ("sum", "sum_sq", "min", "max", "first", "last")
BUCKETS = pl.Schema(
    {
        "time": TIME,
        "tag_id": pl.Int32(),
        **dict.fromkeys(_COUNTS, pl.Int64()),
        **dict.fromkeys(_STATISTICS, pl.Float64()),
    }
)
"""Buckets of an aggregate, the same."""

_QUALITY = pl.Enum([item.name for item in Quality])
_TINY = 1e-150
"""A sum too small to be divided or squared counts as 0, as in the views."""


def raw_frame(readings: Readings) -> pl.DataFrame:
    """Return readings as a frame of `RAW`."""
    columns = [
        pl.Series(name, np.ascontiguousarray(readings[name])).cast(dtype)
        if name != "time"
        else _times(readings["time"])
        for name, dtype in RAW.items()
    ]
    return pl.DataFrame(columns)


def buckets_frame(rows: NDArray[np.void]) -> pl.DataFrame:
    """Return buckets as they came by COPY, NaN for what is null, as a frame of `BUCKETS`."""
    columns = [
        _times(rows["time"])
        if name == "time"
        else pl.Series(name, rows[name].astype(rows[name].dtype.newbyteorder("=")))
        for name in BUCKETS
    ]
    return pl.DataFrame(columns, schema_overrides=BUCKETS).with_columns(_VALUES_OF_GOOD)


def recomputed(raw: pl.DataFrame, interval: Interval) -> pl.DataFrame:
    """Aggregate readings by the definition that the aggregates have; a day at most, wider ones roll up from days."""
    width = interval.width
    assert width is not None  # noqa: S101 - raw readings are not grouped
    made = recompute(raw.with_columns(pl.col("quality").cast(pl.Int16)), width).rename({"bucket": "time"})
    return made.cast(BUCKETS).with_columns(_VALUES_OF_GOOD)


def clipped(frame: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """Return the rows of [start, end)."""
    return frame.filter((pl.col("time") >= start) & (pl.col("time") < end))


def finish(
    frames: Iterable[pl.DataFrame], interval: Interval, tags: Sequence[KnownTag], qualities: Collection[Quality]
) -> pl.DataFrame:
    """Put the parts of an answer together: by time and tag, with the columns and words that people get."""
    empty = pl.DataFrame(schema=RAW if interval.relation is None else BUCKETS)
    rows = pl.concat([empty, *frames], rechunk=False)
    if interval.relation is None and interval.width is not None:
        rows = recomputed(rows, interval)
    if interval.name in {"1week", "1month"}:
        rows = _rolled_up(rows, "1w" if interval.name == "1week" else "1mo")
    if interval.width is None and len(qualities) < len(Quality):
        rows = rows.filter(pl.col("quality").is_in([int(quality) for quality in qualities]))
    rows = rows.sort("time", "tag_id")
    return pl.DataFrame([rows["time"], _named(rows["tag_id"], tags)]).hstack(
        rows.select(_READING_COLUMNS if interval.width is None else _BUCKET_COLUMNS)
    )


def _named(tag_ids: pl.Series, tags: Sequence[KnownTag]) -> pl.Series:
    """Put names for numbers; `tags` is by number."""
    names = pl.Series("tag", [tag.name for tag in tags], dtype=pl.Categorical)
    return names.gather(np.searchsorted([tag.tag_id for tag in tags], tag_ids.to_numpy()))


def _bucket_columns() -> list[pl.Expr]:
    n, total, squares = pl.col("n_good"), pl.col("sum"), pl.col("sum_sq")
    mean = pl.when(total.abs() > _TINY).then(total / n).otherwise(0.0)
    explained = pl.when(total.abs() > _TINY).then(total * (total / n)).otherwise(0.0)
    spread = ((squares - explained).clip(lower_bound=0.0) / (n - 1)).sqrt()
    return [
        *map(pl.col, _COUNTS),
        pl.when(n > 0).then(mean).alias("avg"),
        *map(pl.col, ("min", "max", "first", "last")),
        pl.when(n > 1).then(spread).alias("stddev"),
    ]


_READING_COLUMNS = [pl.col("value"), pl.col("quality").cat.to(_QUALITY), pl.col("status")]
_BUCKET_COLUMNS = _bucket_columns()
_VALUES_OF_GOOD = [pl.when(pl.col("n_good") > 0).then(pl.col(name)).alias(name) for name in _STATISTICS]


def _rolled_up(buckets: pl.DataFrame, every: str) -> pl.DataFrame:
    """Roll sums up, and take first and last from the first and last bucket that has a GOOD reading."""
    held = pl.col("n_good") > 0
    return (
        buckets.sort("tag_id", "time")
        .group_by("tag_id", pl.col("time").dt.truncate(every), maintain_order=True)
        .agg(
            *(pl.col(name).sum() for name in (*_COUNTS, "sum", "sum_sq")),
            pl.col("min").min(),
            pl.col("max").max(),
            pl.col("first").filter(held).first(),
            pl.col("last").filter(held).last(),
        )
        .select(*BUCKETS)
        .with_columns(_VALUES_OF_GOOD)
    )


def _times(micros: NDArray[np.int64]) -> pl.Series:
    native = np.ascontiguousarray(micros).astype(np.int64)
    return pl.Series("time", native).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
