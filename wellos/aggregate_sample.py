"""Recompute aggregates from raw readings on a seeded sample, in Polars, and say where the stored ones differ.

Those of tags are here, those of wells in `wellos.telemetry_sample`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import polars as pl
from psycopg import sql
from psycopg.rows import scalar_row

from wellos.aggregates import TELEMETRY, WIDTHS
from wellos.quality import Quality
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    import psycopg

__all__ = ["Comparison", "Sample", "choose_sample", "compare", "differences", "recompute"]

_COUNTS = ("n", "n_good", "n_uncertain", "n_bad")
_EXACT = (*_COUNTS, "min", "max", "first", "last")
_SUMS = ("sum", "sum_sq")
_BUCKETS: dict[str, pl.DataType | type[pl.DataType]] = {
    "bucket": pl.Datetime("us", "UTC"),
    "tag_id": pl.Int32,
    **dict.fromkeys(_COUNTS, pl.Int64),
    **dict.fromkeys((*_SUMS, "min", "max", "first", "last"), pl.Float64),
}
_RAW: dict[str, pl.DataType | type[pl.DataType]] = {
    "time": pl.Datetime("us", "UTC"),
    "tag_id": pl.Int32,
    "value": pl.Float64,
    "quality": pl.Int16,
}

_DAY = timedelta(days=1)
_SQUARES_FROM = 1e-150
"""The square of a smaller value is 0 in the aggregates: PostgreSQL refuses an underflow."""

RELATIVE_TOLERANCE = 1e-9
"""Of a sum: the engine adds in another order than we do."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Some tags (of telemetry: wells), and windows of whole buckets: what is recomputed."""

    seed: str
    keys: tuple[int, ...]
    windows: tuple[tuple[datetime, datetime], ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison looked at, and the buckets that differ (columns of `differences`)."""

    relation: str
    readings: int
    buckets: int
    differing: pl.DataFrame


def recompute(raw: pl.DataFrame, width: timedelta) -> pl.DataFrame:
    """Aggregate raw readings (time, tag_id, value, quality) into the columns an aggregate has.

    Value statistics are over GOOD readings only; a bucket without one has none (null).
    """
    good = pl.col("quality") == Quality.GOOD
    value = pl.col("value").filter(good)
    return (
        raw.sort("tag_id", "time")
        .group_by("tag_id", pl.col("time").dt.truncate(width).alias("bucket"), maintain_order=True)
        .agg(
            pl.len().cast(pl.Int64).alias("n"),
            good.sum().cast(pl.Int64).alias("n_good"),
            (pl.col("quality") == Quality.UNCERTAIN).sum().cast(pl.Int64).alias("n_uncertain"),
            (pl.col("quality") == Quality.BAD).sum().cast(pl.Int64).alias("n_bad"),
            value.sum().alias("sum"),
            pl.when(value.abs() > _SQUARES_FROM).then(value * value).otherwise(0).sum().alias("sum_sq"),
            value.min().alias("min"),
            value.max().alias("max"),
            value.first().alias("first"),
            value.last().alias("last"),
        )
        .select(*_BUCKETS)
    )


def differences(expected: pl.DataFrame, stored: pl.DataFrame) -> pl.DataFrame:
    """Return the buckets that are missing, too many, or differ: bucket, tag_id, and text columns `expected`, `stored`.

    Counts, extremes, first and last must be equal; sums may differ by rounding. Over no GOOD reading, 0 is null.
    """
    both = expected.join(stored, on=["bucket", "tag_id"], how="full", coalesce=True, suffix="_stored")
    exact = [~pl.col(name).eq_missing(pl.col(f"{name}_stored")) for name in _EXACT]
    # Both sums are bounded by the root of n times the sum of squares (Cauchy-Schwarz), which survives cancellation.
    scale = {"sum": (pl.col("n_good") * pl.col("sum_sq")).sqrt(), "sum_sq": pl.col("sum_sq")}
    sums = [
        (pl.col(name).fill_null(0) - pl.col(f"{name}_stored").fill_null(0)).abs()
        > RELATIVE_TOLERANCE * scale[name].fill_null(0)
        for name in _SUMS
    ]
    shown = [name for name in _BUCKETS if name not in {"bucket", "tag_id"}]
    return both.filter(pl.any_horizontal(*exact, *sums)).select(
        "bucket",
        "tag_id",
        _shown(shown, "").alias("expected"),
        _shown(shown, "_stored").alias("stored"),
    )


def _shown(names: Sequence[str], suffix: str) -> pl.Expr:
    parts = [pl.format("{}={}", pl.lit(name), pl.col(name + suffix).cast(pl.String).fill_null("-")) for name in names]
    text = pl.concat_str(parts, separator=" ")
    return pl.when(pl.col(f"n{suffix}").is_null()).then(pl.lit("no bucket")).otherwise(text)


def choose_sample(
    conn: psycopg.Connection, relation: str, seed: str, spans: Sequence[tuple[datetime, datetime]], *, most: int = 4
) -> Sample | None:
    """Choose what to recompute in `spans` (whole UTC days), the same for the same seed and data; None without spans.

    Eight tags and up to `most` hours, evenly from the spans; of days three tags and one day of each span. Of telemetry
    as many wells.
    """
    dice = random.Random(seed)  # noqa: S311 - a sample, no secret
    if not spans:
        return None
    by_day = WIDTHS[relation] >= _DAY
    width, each = (_DAY, 1) if by_day else (timedelta(hours=1), max(1, most // len(spans)))
    windows = [window for start, end in spans for window in _windows(dice, start, end, width, each)]
    keys = _keys(conn, relation, dice, windows, 3 if by_day else 8)
    return Sample(seed, tuple(keys), tuple(windows))


def _windows(
    dice: random.Random, start: datetime, end: datetime, width: timedelta, most: int
) -> list[tuple[datetime, datetime]]:
    count = (end - start) // width
    chosen = sorted(dice.sample(range(count), min(most, count)))
    return [(start + k * width, start + (k + 1) * width) for k in chosen]


def _keys(
    conn: psycopg.Connection,
    relation: str,
    dice: random.Random,
    windows: Sequence[tuple[datetime, datetime]],
    most: int,
) -> list[int]:
    """Half of the tags or wells from those known to have readings there, half from the whole registry.

    The second half finds readings that an aggregate knows nothing of.
    """
    known_in, key, every_query = (
        ("telemetry_hourly_sums", "well_id", "SELECT well_id FROM wells ORDER BY well_id")
        if relation in TELEMETRY
        else ("readings_1hour", "tag_id", "SELECT tag_id FROM tags ORDER BY tag_id")
    )
    names = {"relation": sql.Identifier(known_in), "key": sql.Identifier(key)}
    known_query = sql.SQL(query("keys_with_readings")).format(**names)
    known: set[int] = set()
    with conn.cursor(row_factory=scalar_row) as cursor:
        for start, end in windows:
            known.update(cursor.execute(known_query, {"start": start, "end": end}).fetchall())
        every: list[int] = cursor.execute(every_query).fetchall()
    chosen = set(dice.sample(sorted(known), min(len(known), most - most // 2)))
    rest = [one for one in every if one not in chosen]
    return sorted(chosen | set(dice.sample(rest, min(len(rest), most - len(chosen)))))


def compare(conn: psycopg.Connection, relation: str, sample: Sample) -> Comparison:
    """Compare an aggregate of tags with raw readings, on a sample.

    Run it in one REPEATABLE READ transaction: a reading that arrives between the two reads is no difference.
    """
    buckets_query = sql.SQL(query("aggregate_buckets_of_tags")).format(relation=sql.Identifier(relation))
    readings, buckets, differing = 0, 0, []
    for start, end in sample.windows:
        arguments = {"tags": list(sample.keys), "start": start, "end": end}
        raw = pl.DataFrame(
            conn.execute(query("readings_of_tags"), arguments, binary=True).fetchall(), schema=_RAW, orient="row"
        )
        stored = pl.DataFrame(
            conn.execute(buckets_query, arguments, binary=True).fetchall(), schema=_BUCKETS, orient="row"
        )
        expected = recompute(raw, WIDTHS[relation])
        readings, buckets = readings + raw.height, buckets + expected.height
        differing.append(differences(expected, stored))
    empty = differences(recompute(pl.DataFrame(schema=_RAW), WIDTHS[relation]), pl.DataFrame(schema=_BUCKETS))
    return Comparison(relation, readings, buckets, pl.concat([empty, *differing]))
