"""Days of readings to archive, made up from a seed, and what becomes of them in a cold store."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from wellos.aggregates import day_window
from wellos.clock import to_micros
from wellos.readings import empty, pack
from wellos.storage.copy import copy_readings, read_readings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.readings import Readings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["DAY", "add_day", "cold_day", "equal", "make_day", "warm_day"]

DAY = date(2026, 11, 1)


def make_day(tags: Sequence[int], rows: int, seed: int = 1, day: date = DAY) -> Readings:
    """Return `rows` readings a tag at random microseconds of the day, every quality and some odd values among them."""
    rng = np.random.default_rng(seed)
    since = to_micros(day_window(day)[0])
    tag_ids = np.repeat(np.asarray(tags), rows)
    moments = [rng.choice(86_400_000, rows, replace=False) for _ in tags]
    quality = rng.integers(0, 3, len(tag_ids))
    value = rng.normal(100, 5, len(tag_ids)).round(2)
    odd = rng.choice([np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, 1.7e308], len(tag_ids))
    value = np.where((quality == 0) & (rng.random(len(tag_ids)) < 0.5), odd, value)
    readings = pack(
        since + np.concatenate(moments) * 1000,
        value,
        tag_ids,
        quality,
        rng.integers(0, 1 << 32, len(tag_ids), dtype=np.uint64),
    )
    rng.shuffle(readings)
    return readings


def add_day(db: PgConnection, readings: Readings, day: date = DAY) -> Readings:
    """Store readings of a day as a writer does, and return them by tag and time."""
    db.execute("SELECT ensure_readings_partitions(%s::date[])", ([day],))
    with db.transaction(), db.cursor() as cursor:
        copy_readings(cursor, readings)
        db.execute("SELECT note_readings_changed(%s::date[])", ([day],))
    return _sorted(readings)


def warm_day(db: PgConnection, tags: Sequence[int], day: date = DAY) -> Readings:
    """Return what the database holds of tags and a day, by tag and time."""
    return _sorted(read_readings(db, tags, *map(to_micros, day_window(day))))


def cold_day(store: ColdStore, tenant: str = "acme", day: date = DAY) -> Readings:
    """Return what a store holds, as it comes."""
    return np.concatenate([empty(), *store.read_day(tenant, day)])


def equal(one: Readings, other: Readings) -> bool:
    """Whether readings are the same, bit by bit but for which NaN and which zero it is."""
    if len(one) != len(other):
        return False
    same = [np.array_equal(one[name], other[name]) for name in ("time", "tag_id", "quality", "status")]
    return all(same) and np.array_equal(one["value"], other["value"], equal_nan=True)


def _sorted(readings: Readings) -> Readings:
    return readings[np.lexsort((readings["time"], readings["tag_id"]))]
