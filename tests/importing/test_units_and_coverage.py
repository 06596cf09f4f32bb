"""Units convert there and back and by the known constants; coverage closes what it holds and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.importing.coverage import Coverage, OpenGap
from wellos.fleet.units import UNITS
from wellos.readings import pack
from wellos.units import conversion, convert, convertible

MINUTE = 60_000_000
KNOWN = [
    ("bbl", "m3", 0.158987294928),
    ("m3", "bbl", 6.289810770432105),
    ("psi", "kPa", 6.894757293168),
    ("mcf/d", "scf/d", 1000.0),
    ("bbl/d", "m3/h", 0.158987294928 / 24),
    ("ft", "in", 12.0),
    ("hp", "kW", 0.7456998715822702),
    ("kgf/cm2", "bar", 0.980665),
]


@pytest.mark.parametrize(("given_unit", "wanted", "one"), KNOWN)
def test_known_factors(given_unit: str, wanted: str, one: float) -> None:
    assert convert(np.array([1.0]), given_unit, wanted)[0] == pytest.approx(one, rel=1e-12)


@pytest.mark.parametrize(("celsius", "fahrenheit"), [(0, 32), (100, 212), (-40, -40)])
def test_temperatures_have_an_offset(celsius: float, fahrenheit: float) -> None:
    assert convert(np.array([celsius]), "C", "degF")[0] == pytest.approx(fahrenheit, abs=1e-9)


@given(st.floats(-1e6, 1e6), st.data())
def test_there_and_back_is_where_it_began(value: float, data: st.DataObject) -> None:
    unit = data.draw(st.sampled_from(sorted(unit for unit in UNITS if convertible(unit))))
    other = data.draw(st.sampled_from(convertible(unit)))
    there = convert(np.array([value]), unit, other)
    assert convert(there, other, unit)[0] == pytest.approx(value, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize(("given_unit", "wanted"), [("psi", "psig"), ("m3", "mcf"), ("bbl", "psi"), ("furlong", "ft")])
def test_what_has_no_factor_is_refused(given_unit: str, wanted: str) -> None:
    with pytest.raises(ValueError, match=given_unit):
        conversion(given_unit, wanted)


@given(st.lists(st.integers(0, 200), min_size=2, max_size=80, unique=True), st.integers(1, 20))
def test_spans_do_not_depend_on_how_the_file_is_cut(minutes: list[int], size: int) -> None:
    times = np.array(sorted(minutes)) * MINUTE
    whole, cut = Coverage({1: 10 * MINUTE}), Coverage({1: 10 * MINUTE})
    whole.add(pack(times, 1.0, 1, 2))
    for first in range(0, len(times), size):
        cut.add(pack(times[first : first + size], 1.0, 1, 2))
    gap = (int(times[0]), int(times[-1]))
    if np.diff(times).max() <= 30 * MINUTE:
        assert whole.covers(1, *gap)
        assert cut.covers(1, *gap)


def test_a_gap_of_a_connection_needs_all_its_tags() -> None:
    coverage = Coverage({1: MINUTE, 2: MINUTE})
    coverage.add(pack(np.arange(100) * MINUTE, 1.0, 1, 2))
    gaps = [OpenGap(7, None, 10 * MINUTE, 20 * MINUTE), OpenGap(7, 1, 10 * MINUTE, 20 * MINUTE)]
    assert coverage.filled(gaps, {7: [1, 2]}) == gaps[1:]
    coverage.add(pack(np.arange(100) * MINUTE, 1.0, 2, 2))
    assert coverage.filled(gaps, {7: [1, 2]}) == gaps
    assert coverage.filled([OpenGap(7, 1, 0, 500 * MINUTE), OpenGap(7, 3, 0, 1)], {7: [1, 2]}) == []
