"""Pumper entries: local times, honest gauges near the truth, mistakes as labelled, the same in every run."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from typing import get_args
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from wellos.clock import from_micros, to_micros
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.entries import Entry, EntryFaultKind, FieldEntries
from wellos.simulator.field import Field
from wellos.simulator.gauging import BARRELS_PER_INCH, GAUGE_STEP_INCH, Gauger
from wellos.simulator.mistakes import CUBIC_METRES_A_BARREL, slipped_decimal, swapped_digits

HOUR_US = 3_600_000_000
START = to_micros(datetime(2026, 9, 1, tzinfo=UTC))
END = START + 90 * DAY_US
FIELD = Field(seed=7)
ENTRIES = FieldEntries(FIELD)
ALL = ENTRIES.entries(START, END)
FAULTS = ENTRIES.faults(START, END)
PRODUCTION = [entry for entry in ALL if entry.entry_type == "production"]


def test_a_range_is_the_sum_of_its_parts_in_any_run() -> None:
    fresh = FieldEntries(Field(seed=7))
    cuts = [START, START + 5 * HOUR_US + 1, START + 3 * DAY_US, START + 4 * DAY_US]
    parts = [entry for low, high in pairwise(cuts) for entry in fresh.entries(low, high)]
    assert parts == [entry for entry in ALL if entry.received_us < cuts[-1]]


def test_about_two_a_day_and_well() -> None:
    expected = 90 * 2 * 12
    firsts = [entry for entry in PRODUCTION if entry.revision == 1]
    assert 0.94 * expected < len(firsts) < 0.99 * expected
    assert len({(entry.entry_id, entry.revision) for entry in ALL}) == len(ALL)


def test_gauged_about_six_local_on_both_sides_of_the_clock_change() -> None:
    zones = [ZoneInfo(well.timezone) for well in FIELD.wells]
    offsets = set()
    for entry in PRODUCTION:
        local = from_micros(entry.gauged_us).astimezone(zones[entry.well])
        offsets.add(local.utcoffset())
        minutes = 60 * local.hour + local.minute
        assert min(abs(minutes - 360), abs(minutes - 1080)) <= 40
    assert len(offsets) == 3  # CDT, then CST and MDT, then MST


def test_the_day_of_the_clock_change_has_25_hours_between_its_mornings() -> None:
    well = next(n for n, item in enumerate(FIELD.wells) if item.timezone == "America/Chicago")
    gauger = Gauger(FIELD, well)
    before = 2 * datetime(2026, 10, 31, tzinfo=UTC).toordinal()
    hours = [(gauger.gauged_us(visit + 2) - gauger.gauged_us(visit)) / HOUR_US for visit in (before, before + 2)]
    assert hours == [pytest.approx(25, abs=0.3), pytest.approx(24, abs=0.3)]


def test_entered_after_the_gauge_and_received_after_entry() -> None:
    for entry in ALL:
        assert entry.gauged_us < entry.entered_us < entry.received_us
    first = {entry.entry_id: entry for entry in PRODUCTION if entry.revision == 1}
    for entry in PRODUCTION:
        if entry.revision == 2:
            assert entry.received_us > first[entry.entry_id].received_us
            assert entry.gauged_us == first[entry.entry_id].gauged_us


def honest() -> list[Entry]:
    wrong = {fault.entry_id for fault in FAULTS if fault.kind not in ("entry_late", "entry_revised")}
    return [
        entry
        for entry in PRODUCTION
        if entry.entry_id not in wrong
        and (entry.revision == 2 or not any(f.entry_id == entry.entry_id and f.kind == "entry_revised" for f in FAULTS))
        and entry.gauged_us > START + DAY_US
    ]


def test_honest_volumes_are_within_gauge_error_of_the_truth_and_add_up() -> None:
    missing = {(fault.well, fault.gauged_us) for fault in FAULTS if fault.kind == "entry_missing"}
    errors = []
    for entry in honest()[:400]:
        gauger = Gauger(FIELD, entry.well)
        visits = gauger.visits(entry.gauged_us - 3 * DAY_US, entry.gauged_us + 1)
        gauges = [visit for visit in visits if (entry.well, gauger.gauged_us(visit)) not in missing]
        if len(gauges) < 2 or gauger.gauged_us(gauges[0]) < START:
            continue
        truth = gauger.true_volume("oil", gauges[-2], gauges[-1])
        errors.append(entry.data["oil_volume"] - truth)
        inches = entry.data["oil_volume"] / BARRELS_PER_INCH
        assert inches / GAUGE_STEP_INCH == pytest.approx(round(inches / GAUGE_STEP_INCH), abs=0.02)
        gas = gauger.true_volume("gas", gauges[-2], gauges[-1])
        assert entry.data["gas_volume"] == pytest.approx(gas, rel=0.05, abs=1)
    assert len(errors) > 200
    assert abs(np.mean(errors)) < 0.05
    assert 0.22 < np.std(errors) < 0.37  # a quarter inch of step and a tenth of crookedness at both gauges
    assert np.abs(errors).max() < 1.5


def test_run_time_is_that_of_the_well() -> None:
    for entry in honest()[:300]:
        assert 0 <= entry.data["run_time"] <= 73
        assert (entry.data["run_time"] * 4).is_integer()
    down = [entry for entry in honest() if entry.data["run_time"] < 2]
    assert down, "90 days hold a stop longer than a shift"
    for entry in down:
        assert entry.data["oil_volume"] < 60


def test_every_kind_of_mistake_occurs_at_about_its_share() -> None:
    counted = Counter(fault.kind for fault in FAULTS)
    assert set(counted) == set(get_args(EntryFaultKind))
    assert 0.1 < sum(counted.values()) / (90 * 24) < 0.18


def test_entries_show_the_mistakes_that_are_labelled() -> None:
    found = {(entry.entry_id, entry.revision): entry for entry in PRODUCTION}
    for fault in FAULTS:
        if fault.gauged_us > END - 4 * DAY_US:
            continue
        if fault.kind == "entry_missing":
            assert not any(e.well == fault.well and e.gauged_us == fault.gauged_us for e in ALL)
            continue
        assert fault.entry_id is not None
        entry = found[fault.entry_id, 1]
        assert (entry.well, entry.gauged_us) == (fault.well, fault.gauged_us)
        if fault.kind == "entry_late":
            assert entry.received_us - entry.gauged_us > 12 * HOUR_US
            continue
        for name, figures in fault.parameters.items():
            assert entry.data[name] == figures["written"] != figures["right"]
            if fault.kind == "entry_revised":
                assert found[fault.entry_id, 2].data[name] == figures["right"]
            if fault.kind == "entry_unit_slip":
                assert figures["written"] == pytest.approx(figures["right"] * CUBIC_METRES_A_BARREL, abs=0.01)


def test_every_revision_is_labelled() -> None:
    revised = {fault.entry_id for fault in FAULTS if fault.kind == "entry_revised"}
    assert {entry.entry_id for entry in PRODUCTION if entry.revision == 2 and entry.gauged_us > START} <= revised


def test_inspections_weekly_and_a_repair_after_each_long_stop() -> None:
    kinds = Counter(entry.entry_type for entry in ALL)
    assert 12 * 11 <= kinds["inspection"] <= 12 * 13
    repairs = [entry for entry in ALL if entry.entry_type == "maintenance"]
    assert repairs
    for entry in repairs:
        assert entry.data["down_hours"] >= 4
        assert datetime.fromisoformat(entry.data["restarted_at"]) <= from_micros(entry.gauged_us)


def test_a_field_that_begins_now_has_no_entry_before() -> None:
    fresh = FieldEntries(Field(seed=7, start_us=END - DAY_US))
    assert all(entry.gauged_us >= END - DAY_US for entry in fresh.entries(START, END))


@pytest.mark.parametrize(
    ("value", "swapped"), [(45.09, 54.09), (44.5, None), (7.0, None), (118.0, 181.0), (100.0, 10.0), (0.0, None)]
)
def test_swapped_digits(value: float, swapped: float | None) -> None:
    assert swapped_digits(value) == swapped


def test_slipped_decimal() -> None:
    assert slipped_decimal(45.09, up=True) == 450.9
    assert slipped_decimal(45.09, up=False) == 4.51
