"""Wells behave: volumes are conserved, registers roll over, stops build pressure up, pumps rest, rates decline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wellos.simulator.behaviour import DAY_US, EPOCH_US, FIRST_US, WellBehaviour
from wellos.simulator.field import Field
from wellos.simulator.signals import Level, Rate, Total, read

FIELD = Field(seed=7, faults=False)
START = 1_793_000_000_000_000
PHASES = ("oil", "gas", "water")


def grid(start_us: int, days: float, step_s: int = 10) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return start_us + np.arange(int(days * 86_400 / step_s) + 1, dtype=np.int64) * step_s * 1_000_000


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("well", range(12))
def test_volume_is_the_integral_of_the_rate(well: int, phase: str) -> None:
    times = grid(START, 12)
    state = FIELD.behaviours[well].state(times)
    rate, produced = state.rate(phase), state.produced(phase)
    integral = np.concatenate([[0], np.cumsum((rate[1:] + rate[:-1]) / 2 * 10 / 86_400)])
    # The trapezoid cuts the corner of each stop: at most half a step of the rate there.
    assert np.abs(produced - produced[0] - integral).max() < 1e-4 * integral[-1] + 3 * rate.max() * 10 / 86_400


@settings(max_examples=60, deadline=None)
@given(well=st.integers(0, 11), phase=st.sampled_from(PHASES), days=st.floats(0, 6000), span=st.floats(0.001, 40))
def test_volumes_add_up_and_never_shrink(well: int, phase: str, days: float, span: float) -> None:
    start = FIRST_US + int(days * DAY_US)
    times = np.array([start, start + int(span * DAY_US / 2), start + int(span * DAY_US)])
    together = FIELD.behaviours[well].state(times).produced(phase)
    alone = [
        float(Field(seed=7, faults=False).behaviours[well].state(times[n : n + 1]).produced(phase)[0]) for n in range(3)
    ]
    assert (np.diff(together) >= -1e-9).all()
    assert together == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("well", range(12))
def test_rates_are_never_negative_and_nothing_flows_while_stopped(well: int) -> None:
    state = FIELD.behaviours[well].state(grid(START, 30, 60))
    assert not state.on.all()
    for phase in PHASES:
        rate = state.rate(phase)
        assert (rate >= 0).all()
        assert (rate[~state.on] == 0).all()
        assert rate[state.on].mean() > 1


@pytest.mark.parametrize("well", range(12))
def test_stops_are_apart_and_of_believable_length(well: int) -> None:
    behaviour = FIELD.behaviours[well]
    s = behaviour.segments(0, 500)
    assert (s.stop < s.start).all()
    assert (s.start < s.end).all()
    hours = 24 * (s.start - s.stop)
    assert hours.min() > 0.4
    assert hours.max() <= 33
    assert np.median(hours) < 5


@pytest.mark.parametrize("well", range(12))
def test_the_segment_of_a_moment_contains_it(well: int) -> None:
    behaviour = FIELD.behaviours[well]
    t = np.sort(np.random.default_rng(3).uniform(31, 4000, 5000))
    index = behaviour.segment_of(t)
    s = behaviour.segments(int(index[0]), int(index[-1] - index[0]) + 1)
    assert (s.stop[index - index[0]] <= t).all()
    assert (t < s.end[index - index[0]]).all()


@pytest.mark.parametrize("well", [1, 2, 3])
def test_rates_decline_until_the_workover(well: int) -> None:
    behaviour = FIELD.behaviours[well]
    flow = behaviour.flows["oil"]
    segments = behaviour.segments(100, 60)
    yearly = np.exp(-365 * flow.decline)
    assert 0.3 < yearly < 0.9
    assert np.unique(segments.cycle).size in {1, 2}
    times = EPOCH_US + (segments.end * DAY_US).astype(np.int64) - 10 * 60_000_000  # long after each start-up
    same = segments.cycle == segments.cycle[0]
    rates = behaviour.state(times).rate("oil")[same] / segments.speed[same]
    wanted = flow.rate * np.exp(-flow.decline * (segments.end - segments.cycle)[same])
    assert np.abs(rates / wanted - 1).max() < 0.6  # the swing of slugs


def stop_of(behaviour: WellBehaviour, hours: float) -> tuple[float, float]:
    after = (START - EPOCH_US) / DAY_US
    return next(stop for stop in behaviour.stops(after, after + 400) if 24 * (stop[1] - stop[0]) > hours)


@pytest.mark.parametrize("well", range(12))
def test_pressure_builds_up_in_a_stop_and_falls_after_it(well: int) -> None:
    behaviour = FIELD.behaviours[well]
    stopped, started = stop_of(behaviour, 5)
    number = next(n for n, tag in enumerate(FIELD.wells[well].tags) if tag.name == "tubing_pressure")
    moments = np.array([stopped - 0.01, stopped + 0.05, started - 0.001, started + 0.4]) * DAY_US
    before, early, late, after = FIELD.measured(well, number, EPOCH_US + moments.astype(np.int64))
    signal = FIELD.instruments[well][number].signal
    assert isinstance(signal, Level)
    lift = signal.shut_in - signal.flowing
    assert before + 0.2 * lift < early < late
    assert late < signal.shut_in + 0.4 * lift
    assert abs(after - before) < 0.6 * lift


@pytest.mark.parametrize("well", range(12))
def test_levels_have_no_jump(well: int) -> None:
    stopped, started = stop_of(FIELD.behaviours[well], 1)
    for edge in (stopped, started):
        at = EPOCH_US + int(edge * DAY_US)
        state = FIELD.behaviours[well].state(np.array([at - 1000, at + 1000]))
        for instrument in FIELD.instruments[well]:
            if isinstance(instrument.signal, Level):
                left, right = read(instrument.signal, state)
                assert abs(right - left) < 0.01 * instrument.high, instrument.name


def test_a_pump_that_pumps_off_rests() -> None:
    resting = [n for n, behaviour in enumerate(FIELD.behaviours) if behaviour.duty < 1]
    assert resting
    for well in resting:
        behaviour, state = FIELD.behaviours[well], FIELD.behaviours[well].state(grid(START, 20, 30))
        assert FIELD.wells[well].lift_type == "rod_pump"
        assert state.running.sum() / state.on.sum() == pytest.approx(behaviour.duty, abs=0.01)
        current = FIELD.measured(
            well, [tag.name for tag in FIELD.wells[well].tags].index("motor_current"), grid(START, 2, 30)
        )
        assert 0.05 < (current < 2).mean() < 0.6


@pytest.mark.parametrize("well", range(12))
def test_a_totaliser_counts_what_its_meter_shows_and_rolls_over(well: int) -> None:
    times = grid(START, 400, 3600)
    for number, tag in enumerate(FIELD.wells[well].tags):
        signal = FIELD.instruments[well][number].signal
        if not isinstance(signal, Total):
            continue
        assert tag.rollover is not None
        register = FIELD.measured(well, number, times)
        assert register.min() >= 0
        assert register.max() < tag.rollover
        steps = np.diff(register)
        assert (steps < 0).sum() >= 1, "400 days are enough for a turn"
        steps[steps < 0] += tag.rollover
        state = FIELD.behaviours[well].state(times)
        truth = state.produced(signal.phase) * signal.factor
        assert steps.sum() == pytest.approx(truth[-1] - truth[0], abs=2 * tag.resolution)
        rate = next(i.signal for i in FIELD.instruments[well] if i.name == tag.name.replace("total", "rate"))
        assert isinstance(rate, Rate)
        assert rate.factor == signal.factor


def test_tubing_is_above_the_line_and_casing_above_tubing_where_it_must_be() -> None:
    for well, description in enumerate(FIELD.wells):
        names = [tag.name for tag in description.tags]
        shown = {
            name: FIELD.measured(well, names.index(name), grid(START, 20, 300))
            for name in ("tubing_pressure", "casing_pressure", "line_pressure")
        }
        on = FIELD.behaviours[well].state(grid(START, 20, 300)).on
        assert (shown["tubing_pressure"][on] > shown["line_pressure"][on]).all(), description.name
        if description.lift_type in {"gas_lift", "flowing"}:
            assert (shown["casing_pressure"] - shown["tubing_pressure"])[on].min() > 50, description.name
