"""The z-score: the worked example, and how far hourly sums are from the exact definition."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import polars as pl
import pytest

from streaming.validate import Thresholds
from streaming.validate.limits import Definitions
from streaming.validate.sequence import Closings
from streaming.validate.statistics import Statistics, combine, z_score
from wellos.registry import Tag

MINUTES = 60 * 24 * 4
FIRST = 28_000_007


def test_the_worked_example() -> None:
    baseline = np.array([100, 101, 99, 100, 102, 98, 100, 101, 99, 100], float)
    n, mean, squares = combine(np.ones((1, 10)), baseline[None], np.zeros((1, 10)))
    assert mean[0] == 100
    assert np.sqrt(squares[0] / (n[0] - 1)) == pytest.approx(1.154701, abs=5e-7)
    assert z_score(np.array([106.0]), n, mean, squares, np.zeros(1))[0] == pytest.approx(5.196152, abs=5e-7)
    baseline[-1] = 150
    n, mean, squares = combine(np.ones((1, 10)), baseline[None], np.zeros((1, 10)))
    assert mean[0] == 105
    assert np.sqrt(squares[0] / (n[0] - 1)) == pytest.approx(15.853496, abs=5e-7)
    assert z_score(np.array([106.0]), n, mean, squares, np.zeros(1))[0] == pytest.approx(0.063, abs=5e-4)


def test_the_least_deviation_is_a_step_of_the_instrument_or_half_a_percent() -> None:
    n, mean, squares = np.array([60.0]), np.array([200.0]), np.zeros(1)
    assert z_score(np.array([204.0]), n, mean, squares, np.zeros(1))[0] == 4
    assert z_score(np.array([204.0]), n, mean, squares, np.array([2.0]))[0] == 2
    assert z_score(np.array([1.0]), n, np.zeros(1), squares, np.zeros(1))[0] == 0


def scored(values: np.ndarray) -> np.ndarray:
    """Every minute's abs(z), from hourly sums."""
    known, statistics = Definitions(Thresholds()), Statistics(1e-9)
    known.add(1, (Tag(1, UUID(int=1), "W", "t", "a"),))
    statistics.grow(2)
    minute = FIRST + np.arange(len(values))
    ones = np.ones(len(values), np.int64)
    found = statistics.score(known, Closings(ones.astype(np.intp), minute, ones, values, minute * 60_000_000))
    z = np.zeros(len(values))
    z[found.time // 60_000_000 - FIRST] = found.score
    return z


def exact(values: np.ndarray) -> np.ndarray:
    """The same by the definition: mean and deviation of the values in [t - 24 h, t)."""
    minute = pl.Series("t", FIRST + np.arange(len(values)))
    frame = pl.DataFrame({"t": minute, "x": values}).with_columns(
        mean=pl.col("x").rolling_mean_by("t", window_size="1440i", closed="left"),
        s=pl.col("x").rolling_std_by("t", window_size="1440i", closed="left"),
    )
    z = (frame["x"] - frame["mean"]).abs() / pl.Series(
        np.maximum(frame["s"].fill_null(0).to_numpy(), 0.005 * np.abs(frame["mean"].fill_null(0).to_numpy()))
    )
    result = z.fill_nan(0).fill_null(0).to_numpy().copy()
    result[:60] = 0
    return result


SHAPES = {
    "noise": lambda t, rng: 500 + rng.normal(0, 5, len(t)),
    "day": lambda t, rng: 500 + 40 * np.sin(2 * np.pi * t / 1440) + rng.normal(0, 5, len(t)),
    "hour": lambda t, rng: 500 + 40 * np.sin(2 * np.pi * t / 60) + rng.normal(0, 2, len(t)),
    "drift": lambda t, rng: 300 + 0.05 * t + rng.normal(0, 5, len(t)),
    "steps": lambda t, rng: 500 + 60.0 * ((t // 700) % 2) + rng.normal(0, 5, len(t)),
    "cycles": lambda t, rng: 60.0 * (t % 40 < 25) + rng.normal(0, 1, len(t)),
    "excursions": lambda t, rng: 500 + rng.normal(0, 5, len(t)) + 100 * (rng.random(len(t)) < 0.01),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_hourly_sums_are_near_the_exact_definition(shape: str) -> None:
    rng = np.random.default_rng(11)
    values = SHAPES[shape](np.arange(MINUTES), rng)
    z, true = scored(values), exact(values)
    # The first 23 hours are exact: nothing has left the window yet.
    np.testing.assert_allclose(z[:1370], true[:1370], rtol=1e-4, atol=1e-5)
    error = np.abs(z - true)
    assert true.max() > 1.2
    assert error.max() < 0.05 * max(true.max(), 1)
    assert np.mean(error) < 0.01
    # Whether a minute is unusual differs in few, and in none that is clear.
    assert np.mean((z >= 4) != (true >= 4)) <= 0.001
    assert not ((true >= 4.3) & (z < 4)).any()
    assert not ((true < 3.7) & (z >= 4)).any()


def test_days_of_silence_leave_nothing_of_the_baseline() -> None:
    rng = np.random.default_rng(3)
    known, statistics = Definitions(Thresholds()), Statistics(4.0)
    known.add(1, (Tag(1, UUID(int=1), "W", "t", "a"),))
    statistics.grow(2)
    for first, level in ((FIRST, 100.0), (FIRST + 1440 * 3, 900.0)):
        minute = first + np.arange(200)
        ones = np.ones(200, np.int64)
        values = level + rng.normal(0, 1, 200)
        closings = Closings(ones.astype(np.intp), minute, ones, values, minute * 60_000_000)
        assert len(statistics.score(known, closings).tag) == 0
