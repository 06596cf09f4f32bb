"""Columns that grow while messages are decoded, and the one error of the MQTT decoders."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streaming.delivery import Gap, Rejected
from wellos.quality import from_sparkplug

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from streaming.adapters.tags import TagColumns
    from streaming.delivery import Filled
    from wellos.readings import Readings

__all__ = ["MAX_MICROS", "PayloadError", "Rows"]

MAX_MICROS = 253_402_300_799_999_999
"""The last microsecond of the year 9999: no source time is later."""

_KEPT_OF_TOO_LARGE = 65_536
_LONGEST_DETAIL, _LONGEST_SOURCE = 4000, 1000
_JUMPS_APART = 32


class PayloadError(ValueError):
    """A payload, or one tag of it, that is no reading: why in the fixed words of `quarantine.reason`, and in prose."""

    def __init__(self, reason: str, detail: str) -> None:
        """Keep both as data."""
        self.reason, self.detail = reason, detail
        super().__init__(detail)


@dataclass(slots=True)
class Rows:
    """One column a field of a reading, and what was found beside readings."""

    positions: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    filled: list[Filled] = field(default_factory=list)
    _jumps: dict[Hashable, tuple[int, int, int]] = field(default_factory=dict)
    """Of each node: jumps so far, where the gaps of the last lie in `gaps`, and where they begin."""

    def note_jump(self, node: Hashable, start_us: int, end_us: int, numbers: Sequence[int]) -> None:
        """Append the gaps of a node's tags; of very many jumps in one delivery the last gap of each grows instead."""
        jumps, at, first_us = self._jumps.get(node, (0, 0, 0))
        if jumps >= _JUMPS_APART:
            end_us = max(end_us, self.gaps[at].end_us if numbers else end_us)
            self.gaps[at : at + len(numbers)] = [Gap(first_us, end_us, "sequence_jump", number) for number in numbers]
        else:
            at, first_us = len(self.gaps), start_us
            self.gaps += [Gap(start_us, end_us, "sequence_jump", number) for number in numbers]
        self._jumps[node] = (jumps + 1, at, first_us)

    def add(self, position: int, time_us: int, value: float, status: int, flags: int) -> None:
        """Append one reading in raw units of the tag at `position`."""
        self.positions.append(position)
        self.times.append(time_us)
        self.values.append(value)
        self.statuses.append(status)
        self.flags.append(flags)

    def extend(self, positions: list[int], time_us: int, values: list[float], status: int, flags: int) -> None:
        """Append the readings of many tags that have all but the value in common."""
        count = len(positions)
        self.positions += positions
        self.times += [time_us] * count
        self.values += values
        self.statuses += [status] * count
        self.flags += [flags] * count

    def append(self, positions: list[int], times: list[int], values: list[float], status: int) -> None:
        """Append readings that have only their status in common."""
        self.positions += positions
        self.times += times
        self.values += values
        self.statuses += [status] * len(positions)
        self.flags += [0] * len(positions)

    def reject(self, error: PayloadError, topic: str, payload: bytes) -> None:
        """Keep what could not be used whole; of what is too large the beginning, and say so."""
        # PostgreSQL has no NUL in texts; the original has it still.
        detail, source = (text.replace("\0", "\ufffd") for text in (error.detail, topic))
        detail, original = detail[:_LONGEST_DETAIL], bytes(payload)
        if error.reason == "too_large":
            original = original[:_KEPT_OF_TOO_LARGE]
            detail = f"{detail}; the first {len(original)} bytes are kept"
        self.rejected.append(Rejected(error.reason, detail, source[:_LONGEST_SOURCE], original))

    def readings(self, tags: TagColumns) -> Readings:
        """Pack the columns."""
        status = np.array(self.statuses, dtype=np.uint32)
        flags = np.array(self.flags, dtype=np.uint8)
        times = np.array(self.times, dtype=np.int64)
        return tags.readings(self.positions, times, self.values, from_sparkplug(status), status, flags)
