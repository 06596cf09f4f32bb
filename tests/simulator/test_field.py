"""The field is a pure function of seed and time: however it is asked, the answer is the same."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellos.errors import ConfigurationError
from wellos.quality import Quality
from wellos.simulator.field import Field
from wellos.simulator.wells import HEARTBEAT_S

if TYPE_CHECKING:
    from wellos.readings import Readings

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
START = 1_793_000_000 * SECOND  # a moment of 2026 that is on no boundary

FIELD = Field(seed=7)


def assert_same(left: Readings, right: Readings) -> None:
    assert left.tobytes() == right.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    well=st.integers(0, 11),
    begin=st.integers(0, 3 * 86_400),
    cuts=st.lists(st.integers(0, 2400), min_size=1, max_size=8),
)
def test_a_range_is_the_sum_of_its_parts(well: int, begin: int, cuts: list[int]) -> None:
    marks = sorted({START + (begin + cut) * SECOND for cut in [0, *cuts, 2400]})
    whole = FIELD.samples(well, marks[0], marks[-1])
    fresh = Field(seed=7)  # a restart
    parts = [fresh.samples(well, low, high) for low, high in pairwise(marks)]
    assert_same(whole, np.concatenate(parts))


@pytest.mark.parametrize("well", range(12))
def test_second_by_second_is_the_same_as_at_once(well: int) -> None:
    live, end = Field(seed=7), START + 700 * SECOND
    steps = [live.samples(well, at, at + SECOND) for at in range(START, end, SECOND)]
    assert_same(np.concatenate(steps), FIELD.samples(well, START, end))


@pytest.mark.parametrize("well", [0, 4, 8, 10])
def test_history_holds_the_same_values_at_the_same_times(well: int) -> None:
    live, sparse = (FIELD.samples(well, START, START + 6 * HOUR, every_s=every) for every in (None, 60))
    columns = ["tag_id", "time"]
    keys, sparse_keys = live[columns], sparse[columns]
    common, at, sparse_at = np.intersect1d(keys, sparse_keys, return_indices=True)
    assert common.size > 300
    assert_same(live[at], sparse[sparse_at])
    if FIELD.wells[well].tags[0].mode == "poll":
        assert common.size == sparse.size


def test_another_seed_is_another_field() -> None:
    other = Field(seed=8)
    assert other.wells != FIELD.wells
    assert not np.array_equal(
        other.samples(4, START, START + HOUR)["value"][:500], FIELD.samples(4, START, START + HOUR)["value"][:500]
    )


@pytest.mark.parametrize("well", range(12))
def test_readings_are_in_range_on_resolution_and_in_order(well: int) -> None:
    field = Field(seed=7, faults=False)
    sent = field.samples(well, START, START + 6 * HOUR)
    assert (np.diff(sent["time"]) >= 0).all()
    assert sent["time"][0] > START
    assert sent["time"][-1] <= START + 6 * HOUR
    assert (sent["quality"] == Quality.GOOD).all()
    assert np.unique(sent[["tag_id", "time"]]).size == sent.size
    for number, tag in enumerate(field.wells[well].tags):
        values = sent["value"][sent["tag_id"] == number]
        assert values.size > 0, tag.name
        assert values.min() >= tag.low
        assert values.max() <= tag.high
        steps = values / tag.resolution
        assert np.abs(steps - np.rint(steps)).max() < 1e-6


@pytest.mark.parametrize("well", [4, 8])
def test_a_polled_tag_is_read_at_every_interval(well: int) -> None:
    field = Field(seed=7, faults=False)
    sent = field.samples(well, START, START + HOUR)
    for number, tag in enumerate(field.wells[well].tags):
        times = sent["time"][sent["tag_id"] == number]
        assert (np.diff(times) == tag.interval_s * SECOND).all()
        assert times.size == 3600 // tag.interval_s


@pytest.mark.parametrize("well", [0, 1, 2, 3, 10])
def test_report_by_exception_speaks_on_change_and_at_the_heartbeat(well: int) -> None:
    field = Field(seed=7, faults=False)
    tags = field.wells[well].tags
    sent = field.samples(well, START, START + 6 * HOUR)
    for number, tag in enumerate(tags):
        mine = sent[sent["tag_id"] == number]
        assert np.diff(mine["time"]).max() <= 2 * HEARTBEAT_S * SECOND
        block = (mine["time"] - 1 - well * 7919 % HEARTBEAT_S * SECOND) // (HEARTBEAT_S * SECOND)
        step = np.abs(np.diff(mine["value"]))[np.diff(block) == 0]
        assert (step > tag.deadband).all()


def test_nothing_before_the_start() -> None:
    field = Field(seed=7, start_us=START)
    sent = field.samples(4, START - HOUR, START + 60 * SECOND)
    assert sent.size > 0
    assert sent["time"].min() >= START
    assert field.samples(4, START - HOUR, START - 1).size == 0


@pytest.mark.parametrize(("wells", "tags"), [(0, None), (501, None), (12, 0), (12, 51)])
def test_a_field_too_small_or_too_large_is_refused(wells: int, tags: int | None) -> None:
    with pytest.raises(ConfigurationError, match="must be from 1 to"):
        Field(seed=1, wells=wells, tags=tags)


def test_a_field_of_another_age_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="2016"):
        Field(seed=1, start_us=0)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="seed"):
        Field(seed=-1)


def test_the_largest_field() -> None:
    field = Field(seed=7, wells=500, tags=50)
    assert len({well.name for well in field.wells}) == 500
    assert all(len({tag.name for tag in well.tags}) == 50 for well in field.wells)
    assert field.samples(499, START, START + 60 * SECOND).size > 50


def test_protocols_and_lift_types_of_the_usual_field() -> None:
    protocols = [well.protocol for well in FIELD.wells]
    assert {protocol: protocols.count(protocol) for protocol in protocols} == {
        "opcua": 4,
        "modbus": 4,
        "mqtt": 2,
        "sparkplug": 2,
    }
    assert {well.lift_type for well in FIELD.wells} == {"rod_pump", "esp", "gas_lift", "flowing"}
    assert {well.timezone for well in FIELD.wells} == {"America/Chicago", "America/Denver"}
    assert all(12 <= len(well.tags) <= 20 for well in FIELD.wells)
