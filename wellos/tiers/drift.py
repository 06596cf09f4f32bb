"""Whether the hot tier says what the warm tier says: a seeded sample of tags and hours, reading by reading."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wellos.clock import from_micros, to_micros
from wellos.storage import hot
from wellos.storage.copy import read_readings
from wellos.storage.hot_pack import SETTLE_US
from wellos.storage.sql import query
from wellos.tiers.hot import filling, living, load_tags

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import redis

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["Drift", "Example", "compare", "drift"]

_TAGS, _HOURS = 16, 4
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Example:
    """One reading that differs; None where a tier has none."""

    tag_id: int
    time: datetime
    hot: float | None
    warm: float | None


@dataclass(frozen=True, slots=True)
class Drift:
    """What the comparison found."""

    tags: tuple[int, ...]
    hours: tuple[int, ...]
    """Hours since 1970-01-01 UTC."""
    compared: int
    """Readings of either tier."""
    differing: int
    """Two values, qualities or status codes for one tag and time."""
    only_warm: int
    """The hot tier lacks them."""
    only_hot: int
    """The warm tier lacks them, and no spool holds anything so old."""
    waiting: int
    """In a spool still: the warm tier gets them."""
    examples: tuple[Example, ...]
    filling: str
    """The ingest instance that is filling Redis: until it is done, readings may be missing there."""

    @property
    def wrong(self) -> int:
        """Readings that are not the same in both tiers and should be."""
        return self.differing + self.only_warm + self.only_hot


def drift(client: redis.Redis, conn: PgConnection, settings: Settings, clock: Clock, seed: str) -> Drift:
    """Compare up to 16 tags in 4 hours of the window, the newest among them, of what is settled for two minutes."""
    tags, hours = _sample(conn, settings, clock, seed)
    until = clock.micros() - SETTLE_US
    # What a spool held before we read cannot be missed after: it waits, or is stored by the time the warm tier is read.
    oldest = _oldest_spooled(conn)
    found_hot, found_warm = [], []
    for hour in hours:
        span = hour * hot.HOUR_US, min((hour + 1) * hot.HOUR_US, until)
        if span[0] < span[1]:
            found_hot.append(hot.last_hours(client, tags, *span))
            found_warm.append(read_readings(conn, tags, *span))
    return compare(
        np.concatenate(found_hot) if found_hot else None,
        np.concatenate(found_warm) if found_warm else None,
        tags=tags,
        hours=hours,
        oldest_spooled_us=oldest,
        filling=filling(client, conn, clock),
    )


def compare(
    in_hot: Readings | None,
    in_warm: Readings | None,
    *,
    tags: Sequence[int] = (),
    hours: Sequence[int] = (),
    oldest_spooled_us: int | None = None,
    filling: str = "",
) -> Drift:
    """Compare two sets of readings, each with one reading a tag and time; flags are the hot tier's alone."""
    import polars as pl  # noqa: PLC0415 - half a second that a code server need not pay

    def frame(readings: Readings | None) -> pl.DataFrame:
        names = ("tag_id", "time", "value", "quality", "status")
        kept = readings if readings is not None else np.zeros(0, _EMPTY)
        return pl.DataFrame({name: np.ascontiguousarray(kept[name]) for name in names})

    both = frame(in_hot).join(frame(in_warm), on=["tag_id", "time"], how="full", suffix="_warm", coalesce=True)
    in_both = pl.col("quality").is_not_null() & pl.col("quality_warm").is_not_null()
    same = (
        pl.col("value").eq_missing(pl.col("value_warm"))  # NaN equals NaN in Polars
        & (pl.col("quality") == pl.col("quality_warm"))
        & (pl.col("status") == pl.col("status_warm"))
    )
    spooled = pl.lit(value=False) if oldest_spooled_us is None else pl.col("time") >= oldest_spooled_us
    kind = (
        pl.when(in_both & same)
        .then(pl.lit("same"))
        .when(in_both & ~spooled)
        .then(pl.lit("differing"))
        .when(pl.col("quality").is_null())
        .then(pl.lit("only_warm"))
        .when(spooled)
        .then(pl.lit("waiting"))
        .otherwise(pl.lit("only_hot"))
    )
    judged = both.with_columns(kind=kind).sort("time", "tag_id")
    counts = dict(judged.group_by("kind").len().iter_rows())
    wrong = judged.filter(pl.col("kind").is_in(["differing", "only_warm", "only_hot"])).head(_EXAMPLES)
    return Drift(
        tuple(tags),
        tuple(hours),
        compared=both.height,
        differing=counts.get("differing", 0),
        only_warm=counts.get("only_warm", 0),
        only_hot=counts.get("only_hot", 0),
        waiting=counts.get("waiting", 0),
        examples=tuple(
            Example(row["tag_id"], from_micros(row["time"]), row["value"], row["value_warm"])
            for row in wrong.iter_rows(named=True)
        ),
        filling=filling,
    )


_EMPTY = np.dtype([("tag_id", "<i4"), ("time", "<i8"), ("value", "<f8"), ("quality", "u1"), ("status", "<u4")])


def _sample(conn: PgConnection, settings: Settings, clock: Clock, seed: str) -> tuple[list[int], list[int]]:
    """Tags in use, and hours of days whose readings are in the warm tier; the newest hour is always among them.

    Where no ingest lives, nobody writes the hour under way: the newest is the last that is closed.
    """
    registry = load_tags(conn)
    live = sorted(tag for tag in registry.tenants if tag not in registry.retired_us)
    now = clock.micros()
    newest = (now - SETTLE_US) // hot.HOUR_US - (not living(conn, clock))
    hours = range((now - settings.hot_hours * hot.HOUR_US) // hot.HOUR_US + 1, newest + 1)
    dropped = {row[0] for row in conn.execute(query("dropped_days"))}
    warm = [hour for hour in hours if _day(hour) not in dropped]
    chosen = random.Random(seed)  # noqa: S311 - a sample, no secret
    older = [hour for hour in warm if hour != newest]
    picked = chosen.sample(older, min(_HOURS - 1, len(older))) + [hour for hour in warm if hour == newest]
    return sorted(chosen.sample(live, min(_TAGS, len(live)))), sorted(picked)


def _day(hour: int) -> date:
    return from_micros(hour * hot.HOUR_US).date()


def _oldest_spooled(conn: PgConnection) -> int | None:
    """Source time of the oldest reading that any ingest instance holds and has not stored; None when none does."""
    times = [row[3] for row in conn.execute(query("hot_instances")) if row[3] is not None]
    return min(map(to_micros, times), default=None)
