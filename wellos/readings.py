"""The packed reading: one NumPy record type, the same in memory, in the spool and at the sinks.

| field | type | meaning |
|---|---|---|
| time | int64 | source time, microseconds since 1970-01-01 UTC |
| value | float64 | engineering units; NaN where there is none, and then quality is BAD |
| tag_id | int32 | the registry's tag |
| status | uint32 | the protocol's own status code, as it came |
| quality | uint8 | `wellos.quality.Quality` |
| flags | uint8 | bits of `Flag` |
"""

from __future__ import annotations

from enum import IntFlag
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["READING", "Flag", "Readings", "empty", "pack"]

READING = np.dtype(
    [("time", "<i8"), ("value", "<f8"), ("tag_id", "<i4"), ("status", "<u4"), ("quality", "u1"), ("flags", "u1")]
)
"""26 bytes a reading, packed, little-endian."""

Readings: TypeAlias = NDArray[np.void]
"""A one-dimensional array of dtype `READING`."""


class Flag(IntFlag):
    """What else is known of a reading. None of these changes its value or quality."""

    HISTORICAL = 1
    """Sent from a device's or server's store after the fact: no live alert is raised from it."""
    ASSUMED_TIME = 2
    """The source gave no time of its own although its protocol has one: it is the server's, else that of receipt."""


def empty(rows: int = 0) -> Readings:
    """Return `rows` readings, all fields zero."""
    return np.zeros(rows, dtype=READING)


def pack(
    time: ArrayLike,
    value: ArrayLike,
    tag_id: ArrayLike,
    quality: ArrayLike,
    status: ArrayLike = 0,
    flags: ArrayLike = 0,
) -> Readings:
    """Pack columns of one length (or scalars, repeated) into readings."""
    columns = np.broadcast_arrays(time, value, tag_id, quality, status, flags)
    batch = np.empty(columns[0].shape, dtype=READING)
    for name, column in zip(("time", "value", "tag_id", "quality", "status", "flags"), columns, strict=True):
        batch[name] = column
    return batch
