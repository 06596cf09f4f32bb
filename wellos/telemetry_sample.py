"""Recompute telemetry of wells from raw readings, in Polars, and say where the stored buckets differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql

from wellos.aggregate_sample import RELATIVE_TOLERANCE, Comparison
from wellos.aggregates import WIDTHS, statuses
from wellos.quality import Quality
from wellos.storage.sql import query
from wellos.telemetry import METRICS

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    import psycopg

    from wellos.aggregate_sample import Sample

__all__ = ["compare", "differences", "recompute"]

_COUNTS = ("n", "n_good", "n_uncertain", "n_bad")
_RAW: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": pl.Datetime("us", "UTC"),
    "well_id": pl.Int32,
    "metric": pl.String,
    "value": pl.Float64,
    "quality": pl.Int16,
}
_BUCKETS: dict[str, pl.DataType | type[pl.DataType]] = {
    "bucket": pl.Datetime("us", "UTC"),
    "well_id": pl.Int32,
    **dict.fromkeys(_COUNTS, pl.Int64),
    **{f"{metric}_n": pl.Int64 for metric in METRICS},
    **{f"{metric}_{part}": pl.Float64 for metric in METRICS for part in ("sum", "sum_sq", "min", "max", "median")},
}
"""Of a `_sums` relation."""

_SQUARES_FROM = 1e-150
"""The square of a smaller value is 0 in the aggregates: PostgreSQL refuses an underflow."""


def recompute(raw: pl.DataFrame, width: timedelta) -> pl.DataFrame:
    """Aggregate raw readings (time, well_id, metric, value, quality) into the columns of a `_sums` relation."""
    good = pl.col("quality") == Quality.GOOD
    parts = [
        pl.len().cast(pl.Int64).alias("n"),
        good.sum().cast(pl.Int64).alias("n_good"),
        (pl.col("quality") == Quality.UNCERTAIN).sum().cast(pl.Int64).alias("n_uncertain"),
        (pl.col("quality") == Quality.BAD).sum().cast(pl.Int64).alias("n_bad"),
    ]
    for metric in METRICS:
        value = pl.col("value").filter(good & (pl.col("metric") == metric))
        square = pl.when(value.abs() > _SQUARES_FROM).then(value * value).otherwise(0)
        parts += [
            value.len().cast(pl.Int64).alias(f"{metric}_n"),
            value.sum().alias(f"{metric}_sum"),
            square.sum().alias(f"{metric}_sum_sq"),
            value.min().alias(f"{metric}_min"),
            value.max().alias(f"{metric}_max"),
            value.median().alias(f"{metric}_median"),
        ]
    return raw.group_by(pl.col("time").dt.truncate(width).alias("bucket"), "well_id").agg(parts).select(*_BUCKETS)


def differences(expected: pl.DataFrame, stored: pl.DataFrame, medians_before: datetime | None) -> pl.DataFrame:
    """Return the buckets that are missing, too many, or differ: bucket, well_id, and text `expected`, `stored`.

    The text names what differs. Counts and extremes must be equal; sums and medians may differ by rounding. A bucket
    not before `medians_before` (null: none is) may have no medians: it is not materialised yet.
    """
    both = expected.join(stored, on=["bucket", "well_id"], how="full", coalesce=True, suffix="_stored")
    pending = pl.lit(value=True) if medians_before is None else pl.col("bucket") >= medians_before
    exact = (*_COUNTS, *(f"{metric}_{part}" for metric in METRICS for part in ("n", "min", "max")))
    unequal = {name: ~pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in exact}
    for metric in METRICS:
        squares = pl.col(f"{metric}_sum_sq").fill_null(0)
        # A sum is bounded by the root of n times the sum of squares, which survives cancellation; a median is the mean
        # of two values, which may cancel too.
        size = (pl.col(f"{metric}_n").fill_null(0) * squares).sqrt()
        unequal[f"{metric}_sum"] = _apart(f"{metric}_sum", size)
        unequal[f"{metric}_sum_sq"] = _apart(f"{metric}_sum_sq", squares)
        median = f"{metric}_median"
        missing = pl.col(median).is_null() != pl.col(f"{median}_stored").is_null()
        unequal[median] = (missing | _apart(median, size)) & ~(pending & pl.col(f"{median}_stored").is_null())
    whole = both.filter(pl.any_horizontal(*unequal.values()))
    return whole.select(
        "bucket", "well_id", _shown(unequal, "").alias("expected"), _shown(unequal, "_stored").alias("stored")
    )


def _apart(name: str, size: pl.Expr) -> pl.Expr:
    return (pl.col(name).fill_null(0) - pl.col(f"{name}_stored").fill_null(0)).abs() > RELATIVE_TOLERANCE * size


def _shown(unequal: dict[str, pl.Expr], suffix: str) -> pl.Expr:
    parts = [
        pl.when(differs | pl.lit(name == "n_good")).then(
            pl.format("{}={}", pl.lit(name), pl.col(name + suffix).cast(pl.String).fill_null("-"))
        )
        for name, differs in unequal.items()
    ]
    text = pl.concat_str(parts, separator=" ", ignore_nulls=True)
    return pl.when(pl.col(f"n{suffix}").is_null()).then(pl.lit("no bucket")).otherwise(text)


def compare(conn: psycopg.Connection, relation: str, sample: Sample) -> Comparison:
    """Compare telemetry with raw readings, on a sample, in one REPEATABLE READ transaction."""
    buckets_query = sql.SQL(query("telemetry_buckets_of_wells")).format(
        relation=sql.Identifier(f"{relation}_sums"), columns=sql.SQL(", ").join(map(sql.Identifier, _BUCKETS))
    )
    raw_query = query("telemetry_readings_of_wells")
    watermark = statuses(conn)[relation].watermark
    readings, buckets = 0, 0
    differing = [differences(pl.DataFrame(schema=_BUCKETS), pl.DataFrame(schema=_BUCKETS), None)]
    for start, end in sample.windows:
        arguments = {"wells": list(sample.keys), "start": start, "end": end}
        raw = pl.DataFrame(conn.execute(raw_query, arguments, binary=True).fetchall(), schema=_RAW, orient="row")
        rows = conn.execute(buckets_query, arguments, binary=True).fetchall()
        expected = recompute(raw, WIDTHS[relation])
        readings, buckets = readings + raw.height, buckets + expected.height
        differing.append(differences(expected, pl.DataFrame(rows, schema=_BUCKETS, orient="row"), watermark))
    return Comparison(relation, readings, buckets, pl.concat(differing))
