"""The merge: judged as a plain loop would, and in the table as it was judged, over days, chunks and compressed ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.seed import at
from wellos.clock import to_micros
from wellos.quality import Quality
from wellos.readings import Readings, empty, pack
from wellos.storage.copy import read_readings
from wellos.storage.merge import Outcome, begin_merge, judge, merge_readings

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection

STORED, REPEATED, REPLACED, SUPERSEDED = Outcome
DAY_US = 86_400_000_000
NOON = to_micros(at("2026-11-01 12:00"))

_ROW = st.tuples(
    st.integers(0, 2), st.integers(1, 2), st.sampled_from([0.0, 1.0, math.nan]), st.integers(0, 2), st.integers(0, 1)
)


def _pack(rows: list[tuple[int, int, float, int, int]]) -> Readings:
    if not rows:
        return empty()
    times, tags, values, quality, status = zip(*rows, strict=True)
    return pack(times, values, tags, quality, status)


def _same(a: tuple[float, int, int], b: tuple[float, int, int]) -> bool:
    return (a[0] == b[0] or (math.isnan(a[0]) and math.isnan(b[0]))) and a[1:] == b[1:]


@given(received=st.lists(_ROW, max_size=12), stored=st.lists(_ROW, max_size=4, unique_by=lambda row: row[:2]))
def test_judged_as_one_by_one(
    received: list[tuple[int, int, float, int, int]], stored: list[tuple[int, int, float, int, int]]
) -> None:
    current = {row[:2]: row[2:] for row in stored}
    writer: dict[tuple[int, int], int] = {}
    expected: list[Outcome] = []
    against = []
    for place, row in enumerate(received):
        key, content = row[:2], row[2:]
        old = current.get(key)
        if old is None:
            outcome = STORED
        elif _same(old, content):
            outcome = REPEATED
        else:
            outcome = REPLACED if content[1] >= old[1] else SUPERSEDED
        if outcome in {STORED, REPLACED}:
            current[key], writer[key] = content, place
        expected.append(outcome)
        against.append(old)
    judged = judge(_pack(received), _pack(stored))
    assert judged.outcome.tolist() == expected
    assert np.flatnonzero(judged.winner).tolist() == sorted(writer.values())
    assert judged.known.tolist() == [row[:2] in {old[:2] for old in stored} for row in received]
    for row, old in zip(judged.against[["value", "quality", "status"]].tolist(), against, strict=True):
        assert old is None or _same(row, old)


def _merge(db: PgConnection, readings: Readings) -> list[Outcome]:
    with db.transaction(), db.cursor() as cursor:
        begin_merge(cursor)
        judged = merge_readings(cursor, readings, uuid4(), np.arange(len(readings)))
    return [Outcome(one) for one in judged.outcome.tolist()]


def _stored(db: PgConnection) -> list[tuple[int, float]]:
    found = read_readings(db, [1, 2, 3], 0, NOON + 400 * DAY_US)
    return sorted(zip(((found["time"] - NOON) // DAY_US).tolist(), found["value"].tolist(), strict=True))


def test_over_many_days(db: PgConnection) -> None:
    days = np.arange(-60, 3)
    batch = pack(NOON + days * DAY_US, days, 1, Quality.GOOD)
    assert _merge(db, batch) == [STORED] * 63
    assert _merge(db, batch) == [REPEATED] * 63
    changed = batch[::7].copy()
    changed["value"] += 1000
    assert _merge(db, np.concatenate([changed, batch[:1]])) == [REPLACED] * 10
    assert len(_stored(db)) == 63


def test_what_was_compressed_meanwhile(db: PgConnection, database_engine: Engine) -> None:
    if database_engine != "timescale":
        pytest.skip("plain PostgreSQL compresses no partition")
    batch = pack(NOON + np.arange(2000) * 1_000_000, np.arange(2000.0), 1 + np.arange(2000) % 3, Quality.GOOD)
    assert set(_merge(db, batch)) == {STORED}
    db.execute("SELECT compress_chunk(c) FROM show_chunks('readings') AS c")
    assert set(_merge(db, batch)) == {REPEATED}
    worse, other = batch[:3].copy(), batch[3:5].copy()
    worse["quality"], other["value"] = Quality.BAD, -1.0
    fresh = pack(NOON - 1_000_000, 7.0, 1, Quality.GOOD)[None]
    assert _merge(db, np.concatenate([worse, other, fresh])) == [SUPERSEDED] * 3 + [REPLACED] * 2 + [STORED]
    found = db.execute("SELECT count(*), count(*) FILTER (WHERE value = -1), count(*) FILTER (WHERE quality < 2) "
                       "FROM readings").fetchone()  # fmt: skip
    assert found == (2001, 2, 0)
