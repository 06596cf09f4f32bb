"""Randomness without state: numbers that are a function of a key and an index, so that any order of asking agrees.

Method: the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) over
key and index, vectorised.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["bits", "key", "normal", "uniform"]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW_16 = np.uint64(0xFFFF)
# The sum of four uniforms of 16 bits has mean 2 * 65535 and variance (2^32 - 1) / 3.
_MEAN = 2.0 * 65535.0
_DEVIATION = float(np.sqrt((2.0**32 - 1.0) / 3.0))


def key(*parts: object) -> int:
    """Return a 64-bit key of any printable parts, the same in every process."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def bits(stream: int, index: ArrayLike) -> NDArray[np.uint64]:
    """Return 64 random bits for each index of a stream named by a key."""
    mixed = np.array(index, dtype=np.int64, copy=True).view(np.uint64)
    with np.errstate(over="ignore"):
        mixed *= _GOLDEN
        mixed += np.uint64(stream)
        mixed ^= mixed >> np.uint64(30)
        mixed *= _MIX_1
        mixed ^= mixed >> np.uint64(27)
        mixed *= _MIX_2
        mixed ^= mixed >> np.uint64(31)
    return mixed


def uniform(stream: int, index: ArrayLike) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each index."""
    return (bits(stream, index) >> np.uint64(11)).astype(np.float64) / (1 << 53)


def normal(stream: int, index: ArrayLike) -> NDArray[np.float64]:
    """Return a number of mean 0 and variance 1 for each index: four uniforms summed, never beyond 3.47 deviations."""
    mixed = bits(stream, index)
    total = (mixed & _LOW_16).astype(np.float64)
    for shift in (16, 32, 48):
        total += (mixed >> np.uint64(shift)) & _LOW_16
    total -= _MEAN
    total /= _DEVIATION
    return total
