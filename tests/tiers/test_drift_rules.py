"""Comparing two tiers reading by reading: the rules, on made-up readings."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wellos.readings import Readings, empty, pack
from wellos.tiers.drift import compare

READINGS = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.integers(0, 20),
        st.sampled_from([0.0, 1.5, -2.0, math.nan]),
        st.integers(0, 2),
        st.sampled_from([0, 7, 0x80000000]),
    ),
    max_size=30,
    unique_by=lambda row: row[:2],
)


def of(rows: list[tuple[int, int, float, int, int]]) -> Readings:
    if not rows:
        return empty()
    tags, times, values, qualities, statuses = zip(*rows, strict=True)
    return pack(times, values, tags, qualities, statuses)


@given(READINGS, st.integers(0, 20) | st.none())
def test_a_tier_equals_itself_in_any_order(rows: list[tuple[int, int, float, int, int]], spooled: int | None) -> None:
    found = compare(of(rows), of(rows[::-1]), oldest_spooled_us=spooled)
    assert (found.wrong, found.waiting, found.compared) == (0, 0, len(rows))


@given(READINGS, READINGS)
def test_every_reading_is_counted_once(
    one: list[tuple[int, int, float, int, int]], other: list[tuple[int, int, float, int, int]]
) -> None:
    found = compare(of(one), of(other))
    keys_one, keys_other = {row[:2] for row in one}, {row[:2] for row in other}
    assert found.compared == len(keys_one | keys_other)
    assert found.only_hot == len(keys_one - keys_other)
    assert found.only_warm == len(keys_other - keys_one)
    by_key = {row[:2]: repr(row[2:]) for row in other}
    assert found.differing == sum(row[:2] in by_key and by_key[row[:2]] != repr(row[2:]) for row in one)
    assert found.waiting == 0


@given(READINGS, st.integers(0, 20))
def test_what_is_as_new_as_a_spool_waits(rows: list[tuple[int, int, float, int, int]], spooled: int) -> None:
    found = compare(of(rows), None, oldest_spooled_us=spooled)
    assert found.waiting == sum(row[1] >= spooled for row in rows)
    assert found.only_hot == len(rows) - found.waiting


def test_examples_say_what_each_tier_has() -> None:
    in_hot, in_warm = pack([1, 2], [1.0, 2.0], 5, 2), pack([2, 3], [2.5, 3.0], 5, 2)
    found = compare(in_hot, in_warm)
    assert [(one.hot, one.warm) for one in found.examples] == [(1.0, None), (2.0, 2.5), (None, 3.0)]
    assert found.wrong == 3


def test_nothing_at_all_is_no_drift() -> None:
    found = compare(None, None)
    assert (found.compared, found.wrong) == (0, 0)
    assert compare(np.zeros(0, empty().dtype), None).wrong == 0
