"""Each check on its own, and the duplicate window against a plain model."""

from __future__ import annotations

import math
from dataclasses import replace
from uuid import UUID

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streaming.validate import Checked, Share, Validator, physical_limits
from wellos.quality import Quality
from wellos.readings import READING, Readings, pack
from wellos.registry import Connection, Tag

TENANT = UUID(int=1)
NOW = 1_700_000_000_000_000
S = 1_000_000
BAD, UNCERTAIN, GOOD = Quality.BAD, Quality.UNCERTAIN, Quality.GOOD


def tag(tag_id: int, **kwargs: object) -> Tag:
    return Tag(tag_id=tag_id, tenant_id=TENANT, well="W", name=f"t{tag_id}", address="a", **kwargs)  # type: ignore[arg-type]


def validator(*tags: Tag, connection_id: int = 5) -> Validator:
    made = Validator()
    made.configure([Connection(connection_id, TENANT, "acme", "c", "mqtt", {}, tags)])
    return made


def check(made: Validator, connection_id: int, readings: Readings, received_us: int, now_us: int) -> Checked:
    return made.check([Share(connection_id, readings, received_us)], now_us)[0]


def one(value: float, *, time: int = NOW, tag_id: int = 1, quality: int = GOOD, status: int = 192) -> Readings:
    return pack([time], [value], [tag_id], [quality], [status])


@pytest.mark.parametrize(
    ("value", "quality", "finding"),
    [
        (50, GOOD, None),
        (-0.4, GOOD, None),
        (100.6, BAD, "range"),
        (-20.0, BAD, "physical"),
        (-0.6, BAD, "range"),
        (-999.25, BAD, "sentinel"),
        (math.nan, BAD, "not_finite"),
        (math.inf, BAD, "not_finite"),
        (1e101, BAD, "physical"),
    ],
)
def test_grades_a_pressure(value: float, quality: int, finding: str | None) -> None:
    pressure = tag(1, unit="psi", quantity="pressure", low=0, high=100, sentinels=(-999.25, 65535.0))
    checked = check(validator(pressure), 5, one(value), NOW, NOW)
    assert checked.readings["quality"].tolist() == [quality]
    assert checked.readings["status"].tolist() == [192]
    assert checked.findings == ({finding: 1} if finding else {})
    if finding in {"sentinel", "not_finite"}:
        assert np.isnan(checked.readings["value"][0])
    else:
        assert checked.readings["value"][0] == value


def test_a_sentinel_is_what_the_device_sends() -> None:
    made = validator(tag(1, scale=0.1, offset=-40.0, sentinels=(65535.0, -9999.9)))
    batch = one(np.float64(65535) * 0.1 - 40)
    assert check(made, 5, batch, NOW, NOW).findings == {"sentinel": 1}
    assert check(made, 5, one(65535.0), NOW, NOW).findings == {}
    assert check(made, 5, one(float(np.float32(-9999.9)) * 0.1 - 40, time=NOW + 1), NOW, NOW).findings == {
        "sentinel": 1
    }


def test_the_source_may_say_bad_without_a_value() -> None:
    checked = check(validator(tag(1)), 5, one(math.nan, quality=BAD), NOW, NOW)
    assert (checked.findings, len(checked.readings)) == ({}, 1)


@pytest.mark.parametrize(
    ("quantity", "unit", "limits"),
    [
        ("temperature", "C", (-51.2, 176.7)),
        ("fraction", "%", (-0.5, 100.5)),
        ("rate", "bbl/d", (-0.5, math.inf)),
        (None, None, (-math.inf, math.inf)),
    ],
)
def test_physical_limits(quantity: str | None, unit: str | None, limits: tuple[float, float]) -> None:
    assert physical_limits(tag(1, quantity=quantity, unit=unit, low=0, high=100)) == limits


def test_the_future_is_rejected_with_the_whole_reading() -> None:
    batch = one(1.5, time=NOW + 61 * S)
    checked = check(validator(tag(1)), 5, batch, NOW, NOW)
    (rejected,) = checked.rejected
    assert (rejected.reason, len(checked.readings)) == ("future", 0)
    assert np.frombuffer(rejected.original, READING).tobytes() == batch.tobytes()
    assert len(check(validator(tag(1)), 5, one(1.5, time=NOW + 60 * S), NOW, NOW).readings) == 1


@pytest.mark.parametrize("tag_id", [-1, 0, 2, 10_000, 3])
def test_a_tag_of_no_or_another_connection_is_rejected(tag_id: int) -> None:
    made = validator(tag(1))
    made.configure([Connection(6, TENANT, "acme", "other", "mqtt", {}, (tag(3),))])
    checked = check(made, 5, one(1, tag_id=tag_id), NOW, NOW)
    assert [item.reason for item in checked.rejected] == ["unknown_tag"]
    assert len(checked.readings) == 0


def test_a_time_that_is_none_is_rejected() -> None:
    checked = check(validator(tag(1)), 5, one(1, time=-(1 << 63)), NOW, NOW)
    assert [item.reason for item in checked.rejected] == ["no_time"]


def test_without_any_tag_everything_is_rejected() -> None:
    empty = Validator()
    assert len(check(empty, 5, one(1), NOW, NOW).rejected) == 1


def test_an_unchanged_value_at_a_new_time_is_never_a_duplicate() -> None:
    made = validator(tag(1))
    for step in range(200):
        assert len(check(made, 5, one(7.0, time=NOW + step), NOW, NOW).readings) == 1


def test_repeats_are_dropped_within_the_window_and_kept_after_it() -> None:
    made = validator(tag(1))
    assert check(made, 5, one(7.0), NOW, NOW).duplicates == 0
    assert check(made, 5, one(7.0), NOW, NOW + 59 * S).duplicates == 1
    assert check(made, 5, one(7.5), NOW, NOW + 59 * S).duplicates == 0
    assert check(made, 5, one(7.0), NOW, NOW + 61 * S).duplicates == 0


def test_a_better_quality_of_the_same_reading_is_kept() -> None:
    made = validator(tag(1))
    assert len(check(made, 5, one(7.0, quality=UNCERTAIN), NOW, NOW).readings) == 1
    assert len(check(made, 5, one(7.0, quality=GOOD), NOW, NOW).readings) == 1
    assert len(check(made, 5, one(7.0, quality=UNCERTAIN), NOW, NOW).readings) == 0


def test_late_is_counted_and_kept() -> None:
    checked = check(validator(tag(1)), 5, one(1, time=NOW - 601 * S), NOW, NOW)
    assert (checked.findings, len(checked.readings)) == ({"late": 1}, 1)


def test_new_limits_apply_and_memory_stays() -> None:
    made = validator(tag(1, high=10.0))
    assert check(made, 5, one(20), NOW, NOW).findings == {"range": 1}
    made.configure([Connection(5, TENANT, "acme", "c", "mqtt", {}, (tag(1, high=30.0), tag(9, sentinels=(1.0, 2.0))))])
    assert check(made, 5, one(20, time=NOW + 1), NOW, NOW).findings == {}
    assert check(made, 5, one(20, time=NOW + 1), NOW, NOW).findings == {"duplicate": 1}
    made.configure([Connection(5, TENANT, "acme", "c", "mqtt", {}, (tag(9),))])
    assert check(made, 5, one(20, time=NOW + 2), NOW, NOW).findings == {"unknown_tag": 1}


def test_wells_may_be_added_while_others_are_watched() -> None:
    made = validator(tag(1))
    check(made, 5, one(20), NOW, NOW)
    other = replace(tag(2), well="X")
    made.configure([Connection(6, TENANT, "acme", "d", "mqtt", {}, (other,))])
    later = NOW + 120 * S
    assert len(check(made, 5, one(21, time=later), later, later).readings) == 1


_READING = st.tuples(st.integers(1, 3), st.integers(0, 4), st.sampled_from([0.0, 1.0, math.nan]), st.integers(1, 2))


@example([[(1, 2, 0.0, 2), (1, 2, 0.0, 1), (1, 2, 0.0, 2)]])
@given(st.lists(st.lists(_READING, max_size=12), max_size=5))
def test_duplicates_equal_a_plain_model(batches: list[list[tuple[int, int, float, int]]]) -> None:
    made = validator(tag(1), tag(2), tag(3))
    best: dict[tuple[int, int, str], int] = {}
    for batch in batches:
        columns = list(zip(*batch, strict=True)) or [(), (), (), ()]
        readings = pack(np.array(columns[1], np.int64) + NOW, np.array(columns[2], float), columns[0], columns[3])
        kept = []
        for number, (tag_id, time, value, quality) in enumerate(batch):
            key, graded = (tag_id, time, repr(value)), BAD if math.isnan(value) else quality
            if best.get(key, -1) < graded:
                best[key] = int(graded)
                kept.append(number)
        checked = check(made, 5, readings, NOW, NOW)
        assert checked.readings["time"].tolist() == readings["time"][kept].tolist()
        assert checked.readings["tag_id"].tolist() == readings["tag_id"][kept].tolist()
        assert checked.duplicates == len(batch) - len(kept)
