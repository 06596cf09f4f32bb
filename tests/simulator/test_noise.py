"""Counter-based noise: right distribution, no state, no correlation between neighbours or streams."""

from __future__ import annotations

import numpy as np

from wellos.simulator import noise

INDEX = np.arange(200_000)


def test_the_same_index_gives_the_same_number_in_any_order_and_company() -> None:
    whole = noise.normal(5, INDEX)
    assert noise.normal(5, INDEX[777:778]) == whole[777]
    assert (noise.normal(5, INDEX[::-1]) == whole[::-1]).all()


def test_moments_and_bounds() -> None:
    normal, uniform = noise.normal(1, INDEX), noise.uniform(2, INDEX)
    assert abs(normal.mean()) < 0.01
    assert abs(normal.std() - 1) < 0.01
    assert np.abs(normal).max() < 3.47
    assert 0 <= uniform.min() < uniform.max() < 1
    assert abs(uniform.mean() - 0.5) < 0.003


def test_neighbours_and_streams_are_uncorrelated() -> None:
    one, other = noise.normal(1, INDEX), noise.normal(2, INDEX)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.01
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.01


def test_negative_indices_are_fine() -> None:
    assert np.unique(noise.bits(9, np.arange(-1000, 1000))).size == 2000


def test_keys_do_not_depend_on_the_process() -> None:
    assert noise.key(7, "PB-001", "oil_rate") == noise.key(7, "PB-001", "oil_rate")
    assert noise.key(7, "PB-001") != noise.key(71, "PB-00")


def test_the_index_is_not_written_to() -> None:
    index = np.arange(10)
    noise.bits(3, index)
    assert (index == np.arange(10)).all()
