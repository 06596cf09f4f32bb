"""Every planted fault does to the readings what its label says, and nothing else is touched."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np
import pytest

from wellos.quality import Quality
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.field import Field
from wellos.simulator.model import FaultKind

if TYPE_CHECKING:
    from wellos.readings import Readings
    from wellos.simulator.model import Fault

SECOND = 1_000_000
FIELD, CLEAN = Field(seed=7), Field(seed=7, faults=False)
START = 1_793_000_000 * SECOND // DAY_US * DAY_US
FAULTS = FIELD.faults(START, START + 60 * DAY_US)


def some(kind: str, protocols: tuple[str, ...] = ("opcua", "modbus", "mqtt", "sparkplug")) -> list[Fault]:
    return [fault for fault in FAULTS if fault.kind == kind and FIELD.wells[fault.well].protocol in protocols][:6]


def around(field: Field, fault: Fault, margin_s: int = 0) -> Readings:
    after, until = fault.start_us - 1 - margin_s * SECOND, fault.end_us - 1 + margin_s * SECOND
    return field.samples(fault.well, after, until)


def of(readings: Readings, tag: int) -> Readings:
    mine: Readings = readings[readings["tag_id"] == tag]
    return mine


def test_a_few_a_day_of_every_kind() -> None:
    assert {fault.kind for fault in FAULTS} == set(get_args(FaultKind))
    single = [fault for fault in FAULTS if fault.kind != "frozen_connection"]
    assert 3 * 60 <= len(single) <= 5 * 60
    assert len({fault.fault_id for fault in FAULTS}) == len(FAULTS)


def test_a_well_has_at_most_one_a_day_and_it_ends_that_day() -> None:
    seen = set()
    for fault in FAULTS:
        day = fault.start_us // DAY_US
        assert (fault.well, day) not in seen
        seen.add((fault.well, day))
        assert fault.start_us < fault.end_us <= (day + 1) * DAY_US
        assert fault.start_us % (60 * SECOND) == 0


def test_the_plan_does_not_depend_on_how_it_is_asked_for() -> None:
    fresh, days = Field(seed=7), range(START, START + 60 * DAY_US, DAY_US)
    assert [fault for day in days for fault in fresh.faults(day, day + DAY_US)] == FAULTS
    assert FIELD.faults(FAULTS[5].start_us, FAULTS[5].start_us + 1).count(FAULTS[5]) == 1
    assert FAULTS[5] not in FIELD.faults(FAULTS[5].end_us, FAULTS[5].end_us + 1)


def test_a_field_without_faults_has_none() -> None:
    assert CLEAN.faults(START, START + 60 * DAY_US) == []


@pytest.mark.parametrize("well", range(12))
def test_nothing_else_is_touched(well: int) -> None:
    mine = [fault for fault in FIELD.faults(START, START + DAY_US) if fault.well == well]
    sent, clean = (field.samples(well, START, START + DAY_US, every_s=60) for field in (FIELD, CLEAN))
    for fault in mine:
        low = fault.start_us - 1_000 * SECOND
        # an instrument that reports by exception compares with what it last sent: its block may differ to its end
        high = fault.end_us + 300 * SECOND
        sent, clean = (part[(part["time"] < low) | (part["time"] >= high)] for part in (sent, clean))
    assert sent.tobytes() == clean.tobytes()


@pytest.mark.parametrize("fault", some("stuck_sensor"), ids=lambda fault: fault.fault_id)
def test_a_stuck_sensor_repeats_itself(fault: Fault) -> None:
    (tag,) = fault.tags
    stuck, free = of(around(FIELD, fault), tag), of(around(CLEAN, fault), tag)
    assert np.unique(stuck["value"]).size == 1
    assert stuck["value"][0] == FIELD.measured(fault.well, tag, np.array([fault.start_us]))[0]
    assert (stuck["quality"] == Quality.GOOD).all()
    assert stuck.size <= free.size
    assert stuck.size >= (fault.end_us - fault.start_us) // (300 * SECOND)


@pytest.mark.parametrize("fault", some("spike"), ids=lambda fault: fault.fault_id)
def test_a_spike_is_one_scan(fault: Fault) -> None:
    (tag,) = fault.tags
    (spike,) = of(around(FIELD, fault), tag)
    true = FIELD.measured(fault.well, tag, np.array([fault.start_us]))[0]
    assert abs(spike["value"] - true) == pytest.approx(fault.parameters["size"])
    assert 0 <= spike["value"] <= FIELD.wells[fault.well].tags[tag].high


@pytest.mark.parametrize("fault", some("dropout"), ids=lambda fault: fault.fault_id)
def test_nothing_is_sent_in_a_dropout(fault: Fault) -> None:
    sent = around(FIELD, fault)
    assert not np.isin(sent["tag_id"], fault.tags).any()
    others = set(range(len(FIELD.wells[fault.well].tags))) - set(fault.tags)
    assert set(sent["tag_id"]) == others


@pytest.mark.parametrize("fault", some("bad_status"), ids=lambda fault: fault.fault_id)
def test_a_bad_status_is_sent(fault: Fault) -> None:
    (tag,) = fault.tags
    told = of(around(FIELD, fault), tag)
    assert told.size > 0
    assert (told["status"] == fault.parameters["status"]).all()
    if int(fault.parameters["status"]) >> 30 == 2:
        assert np.isnan(told["value"]).all()
        assert (told["quality"] == Quality.BAD).all()
    else:
        assert np.isfinite(told["value"]).all()
        assert (told["quality"] == Quality.UNCERTAIN).all()


def test_modbus_has_neither_doubt_nor_time() -> None:
    for fault in FAULTS:
        if FIELD.wells[fault.well].protocol == "modbus":
            assert fault.kind != "clock_skew"
            assert int(fault.parameters.get("status", 0x80000000)) >> 30 == 2


@pytest.mark.parametrize("fault", some("unit_slip"), ids=lambda fault: fault.fault_id)
def test_a_unit_slip_shows_the_other_unit(fault: Fault) -> None:
    (tag,) = fault.tags
    slipped = of(around(FIELD, fault), tag)
    true = FIELD.measured(fault.well, tag, slipped["time"])
    factor, offset = float(fault.parameters["factor"]), float(fault.parameters["offset"])
    step = FIELD.wells[fault.well].tags[tag].resolution
    assert slipped["value"] == pytest.approx(true * factor + offset, abs=step)


@pytest.mark.parametrize("fault", some("frozen_connection"), ids=lambda fault: fault.fault_id)
def test_a_frozen_connection_repeats_every_tag_of_every_well(fault: Fault) -> None:
    sent = around(FIELD, fault)
    for tag in fault.tags:
        assert np.unique(of(sent, tag)["value"]).size == 1
    assert sent["time"].max() > fault.end_us - 400 * SECOND, "times go on"
    together = {other.well for other in FAULTS if other.kind == fault.kind and other.start_us == fault.start_us}
    assert together == {n for n, well in enumerate(FIELD.wells) if well.connection == fault.parameters["connection"]}


@pytest.mark.parametrize("fault", some("clock_skew"), ids=lambda fault: fault.fault_id)
def test_a_skewed_clock_is_behind_and_never_ahead(fault: Fault) -> None:
    sent, true = around(FIELD, fault), around(CLEAN, fault)
    assert (true["time"] - sent["time"] == round(float(fault.parameters["skew_s"]) * SECOND)).all()
    for column in ("tag_id", "value", "quality"):
        assert (sent[column] == true[column]).all()
    whole = around(FIELD, fault, 4000)
    assert np.unique(whole[["tag_id", "time"]]).size == whole.size, "no source time comes twice"
