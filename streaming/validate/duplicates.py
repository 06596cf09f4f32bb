"""Finds repeats: the same tag, source time and value as one of the tag's last 64 readings within the window.

A repeat of better quality is none: it is stored, and the sink lets the better one win. What lies further back, or came
before a restart, is found by the sink's key: this saves it the work. So it is not kept in the state file: a window of a
minute is over before a saved copy could be of use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from streaming.validate.columns import Columns, first_of, shifted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.validate.columns import Bools, Floats, Ints, Rows

__all__ = ["Duplicates"]

_REMEMBERED = 64


class Duplicates(Columns):
    """The last readings of every tag."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "newest": ("i8", 0),
        "count": ("i8", 0),
        "seen_time": ("i8", _REMEMBERED),
        "seen_value": ("u8", _REMEMBERED),
        "seen_quality": ("u1", _REMEMBERED),
        "seen_at": ("i8", _REMEMBERED),
    }
    newest: Ints
    count: Ints
    seen_time: Ints
    seen_value: NDArray[np.uint64]
    seen_quality: NDArray[np.uint8]
    seen_at: Ints

    def __init__(self, window_us: int) -> None:
        """Start without tags."""
        super().__init__()
        self._window_us = window_us

    def find(self, tag: Rows, time: Ints, value: Floats, quality: NDArray[np.uint8], now_us: int) -> Bools:
        """Mask what was seen before, and remember the rest. Rows come sorted by tag, each tag's as received."""
        repeated = np.zeros(len(tag), np.bool_)
        first = first_of(tag)
        before = shifted(time, first, np.where(self.count[tag] > 0, self.newest[tag], _NEVER))
        doubtful = time <= before
        # A tag whose times only grow cannot repeat itself: nearly always that is all there is to do.
        if doubtful.any():
            suspects = np.zeros(self.rows, np.bool_)
            suspects[tag[doubtful]] = True
            rows = np.flatnonzero(suspects[tag])
            repeated[rows] = self._compare(tag[rows], time[rows], _bits(value[rows]), quality[rows], now_us)
            kept = ~repeated
            tag, time, value, quality = tag[kept], time[kept], value[kept], quality[kept]
            first = first_of(tag)
        if len(tag):
            self._remember(tag, time, value, quality, first, now_us)
        return repeated

    def _compare(
        self, tag: Rows, time: Ints, bits: NDArray[np.uint64], quality: NDArray[np.uint8], now_us: int
    ) -> Bools:
        seen: Bools = (
            (self.seen_time[tag] == time[:, None])
            & (self.seen_value[tag] == bits[:, None])
            & (self.seen_quality[tag] >= quality[:, None])
            & (self.seen_at[tag] >= now_us - self._window_us)
            & (self.seen_at[tag] != 0)
        ).any(axis=1)
        within = np.lexsort((bits, time, tag))  # stable: of equal ones the first received comes first
        same = (np.diff(tag[within]) == 0) & (np.diff(time[within]) == 0) & (bits[within][1:] == bits[within][:-1])
        # Against the best so far of the same reading, which is not always the one just before.
        group = np.concatenate(([0], np.cumsum(~same))) * 4
        best = np.maximum.accumulate(group + quality[within])
        same &= group[1:] + quality[within][1:] <= best[:-1]
        seen[within[1:][same]] = True
        return seen

    def _remember(
        self, tag: Rows, time: Ints, value: Floats, quality: NDArray[np.uint8], first: Bools, now_us: int
    ) -> None:
        starts = np.flatnonzero(first)
        if len(starts) == len(tag):
            slot, newest, lengths = self.count[tag] % _REMEMBERED, time, np.ones(len(tag), np.int64)
        else:
            lengths = np.diff(np.append(starts, len(tag)))
            slot = (self.count[tag] + np.arange(len(tag)) - np.repeat(starts, lengths)) % _REMEMBERED
            newest = np.maximum.reduceat(time, starts)
        # One index into the flat arrays: four times as fast as a pair of indexes.
        at = tag * _REMEMBERED + slot
        self.seen_time.reshape(-1)[at] = time
        self.seen_value.reshape(-1)[at] = _bits(value)
        self.seen_quality.reshape(-1)[at] = quality
        self.seen_at.reshape(-1)[at] = now_us
        own = tag[starts]
        known = self.count[own] > 0
        self.newest[own] = np.where(known, np.maximum(self.newest[own], newest), newest)
        self.count[own] += lengths


_NEVER = np.iinfo(np.int64).min


def _bits(value: Floats) -> NDArray[np.uint64]:
    return np.ascontiguousarray(value).view(np.uint64)
