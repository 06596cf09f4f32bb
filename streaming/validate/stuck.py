"""Finds tags that stand still although their well works.

A change is a difference of neighbouring GOOD readings of at least half of max(resolution, deadband/2), or any where
neither is known. Once a minute of platform time a tag is found stuck (WARN; ERROR after 24 h) that has not changed

* if polled: for 30 readings and for 30 minutes;
* if by exception, or a totaliser: for an hour and for 3 times the 99.9th percentile of its own last intervals between
  changes (by half-octaves, from 100 changes on; an interval that was itself found stuck is not learnt),

while its well is on: another tag of the well changed that much later, and, where the well has other tags that say so
(rate, current, speed, frequency), one of them reads above 2 % of its span; time at rest does not count, and such a tag
at rest is not stuck. So nothing is said of the only tag of a well, nor of a connection that is frozen as a whole. A run
that began and ended within one batch is not seen. The episode ends with the next change, or with its connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from streaming.validate.columns import Columns, first_of, shifted
from streaming.validate.episodes import check_number
from streaming.validate.thresholds import MINUTE_US, SECOND_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.validate.columns import Bools, Floats, Ints, Rows
    from streaming.validate.episodes import Episodes
    from streaming.validate.limits import Definitions

__all__ = ["Stuck"]

_BINS = 44
_LEAST_CHANGES = 100
_SHARE = 0.999
_TIMES = 3
_POLLS = 30
_MOST_COUNT = 60_000
_HOUR_US = 60 * MINUTE_US
_ERROR_US = 24 * _HOUR_US


class Stuck(Columns):
    """When each tag last changed, and how often it does."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "value": ("f8", 0),
        "seen": ("i8", 0),
        "changed": ("i8", 0),
        "rested": ("i8", 0),
        "polls": ("i8", 0),
        "intervals": ("u2", _BINS),
    }
    value: Floats
    """The last GOOD one."""
    seen: Ints
    """Its source time; 0: none yet."""
    changed: Ints
    """Source time of the last change."""
    rested: Ints
    """Source time at which its well was last known to be off."""
    polls: Ints
    """GOOD readings since."""
    intervals: NDArray[np.uint16]
    """How many intervals between changes of a paced tag were of 2^(i/2) seconds or more, up to the next i."""

    def __init__(self, after_s: float) -> None:
        """Start without tags."""
        super().__init__()
        self._after_us = round(after_s * SECOND_US)
        self._moved = np.zeros(0, np.int64)

    def follow(self, known: Definitions, tag: Rows, time: Ints, value: Floats) -> None:
        """Take readings that are in order."""
        good = np.flatnonzero(np.isfinite(value))
        if len(good) < len(tag):
            tag, time, value = tag[good], time[good], value[good]
        first = first_of(tag)
        difference = np.abs(value - shifted(value, first, self.value[tag]))
        step = known.step[tag]
        # Half a step, less what a sum of binary fractions is off by.
        change = (difference >= step * (1 - 1e-6)) & ((difference > 0) | (step > 0))
        change |= first & (self.seen[tag] == 0)
        starts = np.flatnonzero(first)
        last = np.append(starts[1:], len(tag)) - 1 if len(tag) else starts
        changes = np.flatnonzero(change)
        own = tag[starts]
        newest = np.full(len(tag), -1)
        newest[changes] = changes
        at = np.maximum.reduceat(newest, starts) if len(tag) else newest
        self._learn(known, tag[changes], time[changes])
        moved = at >= 0
        self.polls[own] = np.where(moved, last - at, self.polls[own] + last - starts + 1)
        self.changed[own[moved]] = time[at[moved]]
        self.value[own], self.seen[own] = value[last], time[last]
        self._move(known, own[moved])

    def remember_wells(self, known: Definitions, tag: Rows) -> None:
        """Take over from these tags' restored state when their wells last moved."""
        self._move(known, tag)

    def _move(self, known: Definitions, tag: Rows) -> None:
        np.maximum.at(self._moved_of(known), known.well[tag], self.changed[tag])

    def _moved_of(self, known: Definitions) -> Ints:
        """Return when each well last moved, 0 for one that never did: wells may be added while others are watched."""
        if known.wells > len(self._moved):
            self._moved = np.pad(self._moved, (0, known.wells - len(self._moved)))
        return self._moved

    def _learn(self, known: Definitions, tag: Rows, time: Ints) -> None:
        first = first_of(tag)
        before = shifted(time, first, self.changed[tag])
        rows = np.flatnonzero(known.paced[tag] & (before != 0))
        tag, interval = tag[rows], time[rows] - before[rows]
        seldom = np.flatnonzero(interval > _HOUR_US)
        if len(seldom):
            learnt = np.ones(len(tag), np.bool_)
            learnt[seldom] = interval[seldom] <= self._longest(tag[seldom])
            tag, interval = tag[learnt], interval[learnt]
        halves = 2 * np.log2(np.maximum(interval, SECOND_US) / SECOND_US)
        np.add.at(self.intervals, (tag, np.minimum(halves.astype(np.intp), _BINS - 1)), 1)
        full = np.unique(tag[self.intervals[tag].max(axis=1) > _MOST_COUNT]) if len(tag) else tag
        self.intervals[full] //= 2

    def _longest(self, tag: Rows) -> Ints:
        """Return how long each of these paced tags may stand still; endless while not known."""
        counts = self.intervals[tag].astype(np.int64)
        total = counts.sum(axis=1)
        enough = np.cumsum(counts, axis=1) >= _SHARE * total[:, None]
        edge = 2.0 ** ((np.argmax(enough, axis=1) + 1) / 2) * SECOND_US
        longest = np.maximum(_TIMES * edge, _HOUR_US).astype(np.int64)
        return np.where(total >= _LEAST_CHANGES, longest, np.iinfo(np.int64).max)

    def look(self, known: Definitions, episodes: Episodes, gone: Bools) -> None:
        """Open, renew and end episodes; of what is `gone`, with its connection, nothing new is said."""
        k = check_number("stuck")
        if episodes.open[k]:
            over = np.flatnonzero((episodes.start[:, k] != 0) & (self.changed > episodes.start[:, k]))
            episodes.last[over, k] = self.changed[over]
            episodes.close(k, over)
        moved = self._moved_of(known)[known.well]
        self.rested = np.where(self._on(known), self.rested, moved)
        since = np.maximum(self.changed, self.rested)
        still = np.where(known.paced, moved, np.minimum(self.seen, moved)) - since
        long = np.where(known.paced, _HOUR_US, self._after_us)
        enough = (known.paced | (self.polls >= _POLLS)) & ~(known.drive & (self.value <= known.running_above))
        tag = np.flatnonzero((self.changed != 0) & ~gone & enough & (still >= long))
        if not len(tag):
            return
        paced = known.paced[tag]
        allowed = np.full(len(tag), self._after_us)
        allowed[paced] = self._longest(tag[paced])
        kept = still[tag] >= allowed
        tag, allowed = tag[kept], allowed[kept]
        episodes.limit[tag, k] = allowed / _HOUR_US
        hours, error = still[tag] / _HOUR_US, still[tag] >= _ERROR_US
        episodes.stand("stuck", tag, since[tag], self.seen[tag], hours, self.value[tag], error)

    def _on(self, known: Definitions) -> Bools:
        """Mask the tags of which another one says that the well runs, or no other could say."""
        drives = known.drive & (known.connection != 0)
        runs = drives & (self.value > known.running_above)
        could = np.bincount(known.well[drives], minlength=known.wells)[known.well]
        do = np.bincount(known.well[runs], minlength=known.wells)[known.well]
        on: Bools = (do - runs > 0) | (could - drives == 0)
        return on
