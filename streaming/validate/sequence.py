"""Looks at each tag's readings in order of source time: spikes, and what a minute's last reading was.

Only readings newer than all before them take part, none from a source's history. A reading that is not GOOD is NaN
here: it ends what the one before it stood for, and nothing is compared with it.

`spike`: a GOOD reading above, or below, both its neighbours (each GOOD and within the hold) by more than max(6 noise,
5 % of span), or by more than `rate_of_change` allows both ways. It is known when the next reading comes, and so the
stored quality stays. Of a rate, current, frequency or speed both neighbours must be above 2 % of span: a motor's inrush
is none. A spike is its own finding, and no rate of change.

Noise is 0.886 times the mean difference of neighbours, the standard deviation where errors are normal and independent.
It is renewed with each hour of source time, from that hour and a fading share of those before (23/24 an hour), once
there are 60 differences; no spike is looked for before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from streaming.validate.columns import Columns, first_of, shifted
from streaming.validate.episodes import Findings
from streaming.validate.thresholds import MINUTE_US

if TYPE_CHECKING:
    from streaming.validate.columns import Bools, Floats, Ints, Rows
    from streaming.validate.limits import Definitions

__all__ = ["Closings", "Sequence"]

_HOUR_US = 60 * MINUTE_US
_FADES = 23 / 24
_LEAST_DIFFERENCES = 60
_SIGMA = 0.8862269254527579  # sqrt(pi) / 2
_SPIKE_NOISE, _SPIKE_SPAN = 6.0, 0.05
_TINY = 1e-300  # known, and as good as none


@dataclass(frozen=True, slots=True)
class Closings:
    """Runs of 1-min buckets whose value is now known, sorted by tag and minute."""

    tag: Rows
    minute: Ints
    """The first bucket, minutes since 1970."""
    length: Ints
    """How many buckets: the later ones are held."""
    value: Floats
    time: Ints
    """Source time of the reading."""


class Sequence(Columns):
    """The last two readings of every tag."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "time": ("i8", 0),
        "value": ("f8", 0),
        "time2": ("i8", 0),
        "value2": ("f8", 0),
        "heard": ("i8", 0),
        "hour": ("i4", 0),
        "noise": ("f8", 0),
        "differences": ("f8", 0),
        "difference_sum": ("f8", 0),
    }
    time: Ints
    """Source time of the newest reading; 0: none yet."""
    value: Floats
    time2: Ints
    """Of the one before."""
    value2: Floats
    heard: Ints
    """Platform time at which a reading last came."""
    hour: Ints
    noise: Floats
    """0: not known yet."""
    differences: Floats
    difference_sum: Floats

    def in_order(self, tag: Rows, time: Ints) -> Rows:
        """Return the rows that are newer than everything of their tag before them; rows are sorted by tag."""
        rows = np.flatnonzero(time > self.time[tag])
        tag, time = tag[rows], time[rows]
        first = first_of(tag)
        if (first[1:] | (time[1:] > time[:-1])).all():
            return rows
        # The running maximum of each tag's times: by rank, so that tag and time fit one number.
        rank = np.unique(time, return_inverse=True)[1] + (np.cumsum(first) - 1) * (len(time) + 1)
        highest = np.maximum.accumulate(rank)
        newer = first | np.concatenate(([True], rank[1:] > highest[:-1]))
        kept: Rows = rows[newer]
        return kept

    def follow(self, known: Definitions, tag: Rows, time: Ints, value: Floats) -> tuple[Findings, Closings]:
        """Take readings that are in order; return spikes, and the minutes that these readings bring to an end."""
        hour = time // _HOUR_US
        first = first_of(tag)
        new_hour = hour != shifted(hour, first, self.hour[tag].astype(np.int64))
        if not (new_hour & ~first).any():
            return self._within_an_hour(known, tag, time, value, first)
        # An hour at a time: what noise is taken for must not depend on where a batch ends.
        turn = np.cumsum(new_hour & ~first)
        turn -= np.repeat(turn[first], np.diff(np.append(np.flatnonzero(first), len(tag))))
        parts = []
        for number in range(int(turn.max()) + 1):
            rows = np.flatnonzero(turn == number)
            parts.append(self._within_an_hour(known, tag[rows], time[rows], value[rows], first_of(tag[rows])))
        spikes, closings = [part[0] for part in parts], [part[1] for part in parts]
        return _joined(Findings, spikes), _joined(Closings, closings)

    def _within_an_hour(
        self, known: Definitions, tag: Rows, time: Ints, value: Floats, first: Bools
    ) -> tuple[Findings, Closings]:
        alone = bool(first.all())
        own = tag if alone else tag[first]
        self._renew_noise(own, time if alone else time[first])
        time1, value1 = shifted(time, first, self.time[tag]), shifted(value, first, self.value[tag])
        time2, value2 = shifted(time1, first, self.time2[tag]), shifted(value1, first, self.value2[tag])
        hold = known.hold[tag]
        rise = np.where((time1 - time2 <= hold) & (time2 != 0), value1 - value2, np.nan)
        fall = np.where((time - time1 <= hold) & (time1 != 0), value - value1, np.nan)
        spike, height, least = self._spikes(known, tag, rise, fall, time1 - time2, time - time1)
        # What starts or stops is no spike: a motor's inrush has a neighbour at rest.
        spike &= ~known.drive[tag] | (np.minimum(value, value2) > known.running_above[tag])
        self._learn(tag, first, fall)
        rows = np.flatnonzero(spike)
        spikes = Findings(
            tag[rows],
            time1[rows],
            height[rows] / least[rows],
            value1[rows],
            least[rows],
            np.ones(len(rows), np.bool_),
        )
        minute, minute1 = time // MINUTE_US, time1 // MINUTE_US
        # A spike stands for nothing, nor does what is not GOOD.
        ends = np.flatnonzero((minute > minute1) & (time1 != 0) & np.isfinite(value1) & ~spike)
        until = np.minimum(minute[ends] - 1, (time1[ends] + hold[ends]) // MINUTE_US)
        closings = Closings(tag[ends], minute1[ends], until - minute1[ends] + 1, value1[ends], time1[ends])
        last = np.arange(len(tag)) if alone else np.append(np.flatnonzero(first)[1:], len(tag)) - 1
        self.time[own], self.value[own] = time[last], value[last]
        self.time2[own], self.value2[own] = time1[last], value1[last]
        return spikes, closings

    def _spikes(
        self, known: Definitions, tag: Rows, rise: Floats, fall: Floats, rising: Ints, falling: Ints
    ) -> tuple[Bools, Floats, Floats]:
        """Return where the reading before is a spike, by how much, and how much would do."""
        height: Floats = np.where(rise * fall < 0, np.minimum(np.abs(rise), np.abs(fall)), 0.0)
        span, noise = known.span[tag], self.noise[tag]
        least = np.maximum(np.maximum(_SPIKE_NOISE * noise, _SPIKE_SPAN * span), known.floor[tag])
        longest = np.maximum(np.maximum(rising, falling), MINUTE_US) / MINUTE_US
        least = np.where(noise == 0, np.inf, np.minimum(least, known.roc[tag] * longest))
        return height > least, height, least

    def _renew_noise(self, own: Rows, time: Ints) -> None:
        hour = time // _HOUR_US
        later = hour != self.hour[own]
        own, hour = own[later], hour[later]
        if not len(own):
            return
        enough = self.differences[own] >= _LEAST_DIFFERENCES
        sure = own[enough]
        self.noise[sure] = np.maximum(_SIGMA * self.difference_sum[sure] / self.differences[sure], _TINY)
        fades = np.where(self.hour[own] == 0, 1.0, _FADES ** np.minimum(hour - self.hour[own], 1000))
        self.differences[own] *= fades
        self.difference_sum[own] *= fades
        self.hour[own] = hour

    def _learn(self, tag: Rows, first: Bools, fall: Floats) -> None:
        known = np.isfinite(fall)
        size = np.where(known, np.abs(fall), 0.0)
        # One spike must not teach that spikes are noise.
        noise = self.noise[tag]
        size = np.where(noise > _TINY, np.minimum(size, _SPIKE_NOISE * noise), size)
        starts = np.flatnonzero(first)
        if len(starts) == len(tag):
            self.differences[tag] += known
            self.difference_sum[tag] += size
        else:
            self.differences[tag[starts]] += np.add.reduceat(known.astype(float), starts)
            self.difference_sum[tag[starts]] += np.add.reduceat(size, starts)


_Columns = TypeVar("_Columns", Findings, Closings)


def _joined(kind: type[_Columns], parts: list[_Columns]) -> _Columns:
    """Put parts together, sorted by tag; each tag's rows stay in their order."""
    columns = [np.concatenate([getattr(part, name) for part in parts]) for name in kind.__slots__]
    order = np.argsort(columns[0], kind="stable")
    return kind(*(column[order] for column in columns))
