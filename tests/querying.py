"""What a query must answer, worked out from the readings themselves, for tests of `wellos.query`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from wellos.clock import to_micros
from wellos.readings import pack
from wellos.storage.copy import copy_readings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import date, datetime

    from wellos.query import Result
    from wellos.readings import Readings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = [
    "archive",
    "assert_seams",
    "drop",
    "expected_buckets",
    "expected_raw",
    "insert",
    "plain",
    "restore",
    "same",
    "wandering",
    "watch",
]

_WORDS = np.array(["BAD", "UNCERTAIN", "GOOD"])
_COUNTS = ("n", "n_good", "n_uncertain", "n_bad")
_RECEIPT = """
INSERT INTO archive_manifest (tenant_id, day, store, state, rows, checksum_a, checksum_b, connections, bytes, location,
                              snapshot, cluster, watermark, started_at, verified_at, duration_s)
SELECT tenant_id, %s, %s, 'verified', %s, 0, 0, '{}', %s, %s, pg_current_snapshot(), database_cluster(), now(), now(),
       now(), 0
FROM tenants WHERE slug = %s
"""


def wandering(tag_ids: Collection[int], start: datetime, count: int, step_s: float, seed: int = 1) -> Readings:
    """Return `count` readings of each tag, `step_s` apart, one in ten not GOOD; values are quarters, exact in sums."""
    rng = np.random.default_rng(seed)
    rows = len(tag_ids) * count
    times = to_micros(start) + np.tile(np.arange(count), len(tag_ids)) * int(step_s * 1e6)
    values = rng.integers(-4000, 4000, rows) / 4
    quality = rng.choice([2, 2, 2, 2, 2, 2, 2, 2, 1, 0], rows)
    return pack(times, values, np.repeat(np.array(sorted(tag_ids)), count), quality, rng.integers(0, 5, rows))


def insert(connection: PgConnection, readings: Readings) -> None:
    """Store readings that are new, as ingest does: with the days that they change noted."""
    days = np.unique(readings["time"] // 86_400_000_000).astype("datetime64[D]").tolist()
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SELECT ensure_readings_partitions(%s)", (days,))
        copy_readings(cursor, readings)
        cursor.execute("SELECT note_readings_changed(%s)", (days,))


def watch(connection: PgConnection, *days: date) -> None:
    """Watch days."""
    connection.execute("CALL watch_days(%s)", (list(days),))


def _within(truth: Readings, start: datetime, end: datetime) -> Readings:
    return truth[(truth["time"] >= to_micros(start)) & (truth["time"] < to_micros(end))]


def expected_raw(
    truth: Readings,
    names: Mapping[int, str],
    start: datetime,
    end: datetime,
    qualities: Collection[str] = ("GOOD", "UNCERTAIN"),
) -> pl.DataFrame:
    """Return the readings of [start, end) by time and tag, in the columns of an answer, with plain text for words."""
    rows = _within(truth, start, end)
    rows = rows[np.lexsort((rows["tag_id"], rows["time"]))]
    frame = pl.DataFrame(
        {
            "time": pl.Series(np.ascontiguousarray(rows["time"])).cast(pl.Datetime("us", "UTC")),
            "tag": [names[tag] for tag in rows["tag_id"].tolist()],
            "value": np.ascontiguousarray(rows["value"]),
            "quality": _WORDS[rows["quality"]].tolist(),
            "status": np.ascontiguousarray(rows["status"]),
        },
        schema_overrides={"tag": pl.String, "quality": pl.String},
    )
    return frame.filter(pl.col("quality").is_in(list(qualities)))


def expected_buckets(
    truth: Readings, names: Mapping[int, str], start: datetime, end: datetime, every: str
) -> pl.DataFrame:
    """Return the buckets of [start, end), which lies on their edges; `every` as Polars writes it."""
    rows = expected_raw(truth, names, start, end, ("GOOD", "UNCERTAIN", "BAD"))
    good = pl.col("value").filter(pl.col("quality") == "GOOD")
    return (
        rows.group_by(pl.col("time").dt.truncate(every), "tag")
        .agg(
            pl.len().cast(pl.Int64).alias("n"),
            *(
                (pl.col("quality") == word).sum().cast(pl.Int64).alias(f"n_{word.lower()}")
                for word in ("GOOD", "UNCERTAIN", "BAD")
            ),
            good.mean().alias("avg"),
            good.min().alias("min"),
            good.max().alias("max"),
            good.sort_by(pl.col("time").filter(pl.col("quality") == "GOOD")).first().alias("first"),
            good.sort_by(pl.col("time").filter(pl.col("quality") == "GOOD")).last().alias("last"),
            good.std().alias("stddev"),
        )
        .sort("time", "tag")
    )


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return an answer with plain text for words, to be compared."""
    words = [name for name in ("tag", "quality") if name in frame.columns]
    return frame.with_columns(pl.col(words).cast(pl.String))


def assert_seams(result: Result, start: datetime, end: datetime) -> None:
    """The parts cover [start, end) without gap or overlap; overlay lies over the cold part before it."""
    at = start
    parts = list(result.provenance.parts)
    for before, part in zip([None, *parts], parts, strict=False):
        if part.tier == "overlay":
            assert before is not None
            assert (before.tier, before.start, before.end) == ("cold", part.start, part.end)
        else:
            assert part.start == at
            assert part.end > part.start
            at = part.end
    assert at == end
    assert result.provenance.rows == len(result.frame)


def same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """Answer and expectation are equal; sums may differ by rounding."""
    assert_frame_equal(plain(found), expected, check_exact=False, rel_tol=1e-9, abs_tol=1e-9)


def archive(connection: PgConnection, store: ColdStore, tenant: str, day: date, readings: Readings) -> None:
    """Write a tenant's day to a cold store, with its receipt."""
    rows = readings[np.lexsort((readings["time"], readings["tag_id"]))]
    copy = store.write(tenant, day, [rows] if len(rows) else [], secrets.token_hex(4))
    receipt = (day, store.name, len(rows), copy.bytes, copy.location, tenant)
    connection.execute(_RECEIPT, receipt)


def drop(connection: PgConnection, day: date) -> None:
    """Drop a watched day whose tenants are archived."""
    connection.execute("SELECT make_readings_day(%s)", (day,))
    with connection.transaction():
        connection.execute("SELECT lock_readings_day(%s)", (day,))
        connection.execute("SELECT drop_readings_day(%s)", (day,))
        connection.execute("UPDATE reading_days SET dropped_at = clock_timestamp() WHERE day = %s", (day,))


def restore(connection: PgConnection, day: date, readings: Readings) -> None:
    """Bring a dropped day back."""
    connection.execute("SELECT ensure_readings_partitions(%s)", ([day],))
    with connection.transaction(), connection.cursor() as cursor:
        copy_readings(cursor, readings)
        cursor.execute("SELECT note_readings_changed(%s)", ([day],))
        cursor.execute(
            "UPDATE reading_days SET dropped_at = NULL, restored_at = clock_timestamp() WHERE day = %s", (day,)
        )
