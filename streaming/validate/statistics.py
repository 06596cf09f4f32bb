"""Scores each tag's minutes against its last 24 hours, and compares each minute with the one before.

`z_score`: 1-min values (the last GOOD reading, held) against the mean and standard deviation of the 24 h before them:
abs(z) >= 4 in 2 of 3 consecutive minutes opens an episode, abs(z) >= 3 keeps it open.

`rate_of_change`: change between the last readings of two minutes, within the hold, over the time between them, at least
a minute: above 20 % of span a minute for a pressure, 10 degF a minute for a temperature. Readings within a minute are
not compared: their noise would be a rate.

`z = (x - mu) / max(s, deadband/2, resolution, 0.5 % of abs(mu))`, s with n - 1; not before 60 values over an hour. The
score is ungated: what is unusual enters the baseline of what follows.

The baseline is kept as hourly sums (n, mean, squared deviations): the 23 full hours, this hour so far, and of the
oldest hour the share that the window still covers. That share is the one thing in which it differs from the exact
definition: it stands for minutes that may have been unlike the rest of their hour. How much that makes is in
`docs/ingest.md`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from streaming.validate.columns import Columns, rank_in, shifted
from streaming.validate.episodes import Findings
from streaming.validate.thresholds import MINUTE_US

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.validate.columns import Bools, Floats, Ints, Rows
    from streaming.validate.limits import Definitions
    from streaming.validate.sequence import Closings

__all__ = ["Statistics", "combine", "z_score"]

_SLOTS = 25
_LEAST_VALUES = 60
_FLOOR = 0.005
_STAYS = 0.75
"""Share of the limit above which an open episode goes on: 3 for 4."""


def z_score(x: Floats, n: Floats, mean: Floats, squares: Floats, floor: Floats) -> Floats:
    """Return (x - mean) / max(s, floor, 0.5 % of abs(mean)); `squares`: sum of squared deviations from the mean."""
    s = np.sqrt(np.maximum(squares, 0) / np.maximum(n - 1, 1))
    sigma = np.maximum(np.maximum(s, floor), _FLOOR * np.abs(mean))
    score: Floats = np.divide(x - mean, sigma, out=np.zeros_like(mean), where=sigma > 0)
    return score


def combine(n: Floats, mean: Floats, squares: Floats) -> tuple[Floats, Floats, Floats]:
    """Put groups together along the last axis: their numbers, means and squared deviations as those of one group."""
    total = n.sum(axis=-1)
    middle = (n * mean).sum(axis=-1) / np.maximum(total, 1e-9)
    spread = (squares + n * (mean - middle[..., None]) ** 2).sum(axis=-1)
    return total, middle, spread


class Statistics(Columns):
    """24 h of hourly sums of every tag, and its last minutes."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "hour": ("i4", 0),
        "minute": ("i4", 0),
        "since": ("i4", 0),
        "unusual": ("u1", 0),
        "closed_time": ("i8", 0),
        "closed_value": ("f8", 0),
        "n": ("f8", 0),
        "mean": ("f8", 0),
        "squares": ("f8", 0),
        "day_n": ("f8", 0),
        "day_mean": ("f8", 0),
        "day_squares": ("f8", 0),
        "hour_n": ("u1", _SLOTS),
        "hour_mean": ("f4", _SLOTS),
        "hour_squares": ("f4", _SLOTS),
    }
    hour: NDArray[np.int32]
    minute: NDArray[np.int32]
    """The last minute scored."""
    since: NDArray[np.int32]
    """The first minute of the baseline."""
    unusual: NDArray[np.uint8]
    """The last three minutes, a bit each, the lowest the last."""
    closed_time: Ints
    closed_value: Floats
    n: Floats
    """Of this hour so far, as `mean` and `squares`."""
    mean: Floats
    squares: Floats
    day_n: Floats
    """Of the 23 hours before it."""
    day_mean: Floats
    day_squares: Floats
    hour_n: NDArray[np.uint8]
    """By hour modulo 25."""
    hour_mean: NDArray[np.float32]
    hour_squares: NDArray[np.float32]

    def __init__(self, z_limit: float) -> None:
        """Start without tags."""
        super().__init__()
        self._limit = z_limit

    def changes(self, known: Definitions, found: Closings) -> Findings:
        """Return minutes that differ too much from the minute before; takes note of the last of each tag."""
        tag, rank = found.tag, rank_in(found.tag)
        first = rank == 0
        time1 = shifted(found.time, first, self.closed_time[tag])
        value1 = shifted(found.value, first, self.closed_value[tag])
        apart = found.time - time1
        limit = known.roc[tag] * np.maximum(apart, MINUTE_US) / MINUTE_US
        change = np.abs(found.value - value1)
        rows = np.flatnonzero((change > limit) & (apart <= known.hold[tag] + MINUTE_US) & (time1 != 0))
        last = np.append(np.flatnonzero(first)[1:], len(tag)) - 1
        self.closed_time[tag[last]], self.closed_value[tag[last]] = found.time[last], found.value[last]
        minutes = np.maximum(apart[rows], MINUTE_US) / MINUTE_US
        pace = change[rows] / minutes
        return Findings(
            tag[rows],
            found.time[rows],
            change[rows] / limit[rows],
            pace,
            known.roc[tag[rows]],
            np.ones(len(rows), np.bool_),
        )

    def score(self, known: Definitions, found: Closings) -> Findings:
        """Score these minutes, in order for each tag, and take them into the baseline."""
        scored = np.flatnonzero(known.scored[found.tag])
        length = found.length[scored]
        runs = np.repeat(scored, length)
        tag, value = found.tag[runs], found.value[runs]
        minute = found.minute[runs] + rank_of_run(length)
        turn = rank_in(tag)
        order = np.argsort(turn, kind="stable")
        cuts = np.flatnonzero(np.diff(turn[order])) + 1
        z, unusual = np.zeros(len(tag)), np.zeros(len(tag), np.bool_)
        for rows in np.split(order, cuts) if len(order) else ():
            z[rows], unusual[rows] = self._one_minute(known, tag[rows], minute[rows], value[rows])
        size = np.abs(z)
        rows = np.flatnonzero(size >= _STAYS * self._limit)
        limit = np.full(len(rows), self._limit)
        return Findings(tag[rows], minute[rows] * MINUTE_US, size[rows], value[rows], limit, unusual[rows])

    def _one_minute(self, known: Definitions, tag: Rows, minute: Ints, value: Floats) -> tuple[Floats, Bools]:
        """Score one minute of each of these tags; return z, and where two of the last three were unusual."""
        hour = minute // 60
        later = hour != self.hour[tag]
        if later.any():
            self._turn_hour(tag[later], hour[later])
        n, mean, squares = self._baseline(tag, hour, minute)
        fresh = n == 0
        self.since[tag[fresh]] = minute[fresh]
        ready = (n >= _LEAST_VALUES) & (minute - self.since[tag] >= _LEAST_VALUES)
        z = np.where(ready, z_score(value, n, mean, squares, known.floor[tag]), 0.0)
        unusual = np.abs(z) >= self._limit
        before = np.where(minute == self.minute[tag] + 1, self.unusual[tag], 0)
        bits = ((before << 1) | unusual) & 7
        self.minute[tag], self.unusual[tag] = minute, bits
        count = self.n[tag] + 1
        apart = value - self.mean[tag]
        self.n[tag] = count
        self.mean[tag] += apart / count
        self.squares[tag] += apart * (value - self.mean[tag])
        return z, unusual & ((bits & 6) != 0)

    def _baseline(self, tag: Rows, hour: Ints, minute: Ints) -> tuple[Floats, Floats, Floats]:
        oldest = (hour + 1) % _SLOTS
        share = 1 - (minute % 60) / 60
        n = np.stack((share * self.hour_n[tag, oldest], self.day_n[tag], self.n[tag]), axis=-1)
        mean: Floats = np.stack(
            (self.hour_mean[tag, oldest].astype(np.float64), self.day_mean[tag], self.mean[tag]), axis=-1
        )
        squares = np.stack((share * self.hour_squares[tag, oldest], self.day_squares[tag], self.squares[tag]), axis=-1)
        return combine(n, mean, squares)

    def _turn_hour(self, tag: Rows, hour: Ints) -> None:
        """Put this hour's sums away, drop what is older than 24 h, and add up the 23 hours between."""
        slot = self.hour[tag] % _SLOTS
        self.hour_n[tag, slot] = self.n[tag]
        self.hour_mean[tag, slot], self.hour_squares[tag, slot] = self.mean[tag], self.squares[tag]
        # Every slot from the hour after the last one to this one is 25 h old.
        ahead = (np.arange(_SLOTS) - slot[:, None]) % _SLOTS
        past = hour - self.hour[tag]
        stale = ((ahead > 0) & (ahead <= past[:, None])) | (past[:, None] >= _SLOTS)
        n = np.where(stale, 0, self.hour_n[tag]).astype(np.float64)
        self.hour_n[tag] = n
        squares: Floats = np.where(n > 0, self.hour_squares[tag], 0).astype(np.float64)
        self.hour_squares[tag] = squares
        between = (np.arange(_SLOTS) != ((hour + 1) % _SLOTS)[:, None]).astype(np.float64)
        self.day_n[tag], self.day_mean[tag], self.day_squares[tag] = combine(
            n * between, np.asarray(self.hour_mean[tag], np.float64), squares * between
        )
        self.hour[tag] = hour
        self.n[tag] = self.mean[tag] = self.squares[tag] = 0


def rank_of_run(length: Ints) -> Ints:
    """Return 0, 1, ... length - 1 for each run, one after another."""
    rank: Ints = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length)
    return rank
