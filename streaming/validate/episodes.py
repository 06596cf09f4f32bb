"""Makes episodes of findings: when one begins, when it is worth another word, and when it has ended.

A finding joins the episode of its tag and check that is open when the one before is at most `Rule.close_us` back; else
that one has ended with its last finding, and another begins. Every time is a time of findings and readings, never of
this machine, and so the same findings give the same episodes however they are cut into batches. What is said meanwhile
of one that goes on depends on the cut: a word when it begins, when its score has grown by a fifth, and when it ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from streaming.delivery import Episode
from streaming.validate.columns import Columns, first_of, rank_in
from streaming.validate.thresholds import CHECKS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.delivery import Severity
    from streaming.validate.columns import Bools, Floats, Ints, Rows

__all__ = ["Episodes", "Findings", "check_number"]

_GROWS = 1.2


@dataclass(frozen=True, slots=True)
class Findings:
    """What one check found, sorted by tag and time."""

    tag: Rows
    time: Ints
    score: Floats
    """How bad, 0 or more: what must grow for another word."""
    value: Floats
    limit: Floats
    may_open: Bools
    """What may not only keeps one open."""

    def at(self, rows: Rows) -> Findings:
        """Return some of them."""
        return Findings(*(getattr(self, name)[rows] for name in self.__slots__))


_NUMBERS = {rule.name: number for number, rule in enumerate(CHECKS)}
_WORDS: tuple[Severity, ...] = ("INFO", "WARN", "ERROR")
_N = len(CHECKS)
_CLOSE = np.array([rule.close_us for rule in CHECKS])
_BY_RECEIPT = np.array([rule.by_receipt for rule in CHECKS])


def check_number(name: str) -> int:
    """Return the row of a check in `CHECKS`."""
    return _NUMBERS[name]


class Episodes(Columns):
    """What is open and what was, of every tag and check: key = tag * checks + check."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "start": ("i8", _N),
        "last": ("i8", _N),
        "count": ("i8", _N),
        "worst": ("f8", _N),
        "value": ("f8", _N),
        "limit": ("f8", _N),
        "told": ("f8", _N),
        "severity": ("u1", _N),
        "quiet_until": ("i8", _N),
        "before": ("f8", _N),
    }
    start: Ints
    """0: not open."""
    last: Ints
    count: Ints
    worst: Floats
    value: Floats
    """The value at the worst score."""
    limit: Floats
    told: Floats
    """The worst score when last said."""
    severity: NDArray[np.uint8]
    quiet_until: Ints
    before: Floats
    """Worst score of the one that made it quiet."""

    def __init__(self) -> None:
        """Start with none."""
        super().__init__()
        self.open = np.zeros(_N, np.int64)
        """How many are open, by check."""
        self._said: list[tuple[int, Episode]] = []

    def drain(self) -> list[tuple[int, Episode]]:
        """Return (tag, episode) of all there is to say since the last call."""
        said, self._said = self._said, []
        return said

    def recount(self) -> None:
        """Count what is open: after rows were set from outside."""
        self.open = np.count_nonzero(self.start, axis=0)

    def find(self, name: str, found: Findings) -> None:
        """Take findings of one check, sorted by tag and time."""
        if not len(found.tag):
            return
        k, rule = _NUMBERS[name], CHECKS[_NUMBERS[name]]
        found = replace(found, time=np.where(found.time == 0, 1, found.time))
        breaks = first_of(found.tag)
        breaks[1:] |= np.diff(found.time) > rule.close_us
        run = np.cumsum(breaks) - 1
        turn = rank_in(found.tag[breaks])[run]
        for number in range(int(turn.max()) + 1):
            self._absorb(k, found if turn.max() == 0 else found.at(np.flatnonzero(turn == number)))
        own = found.tag[first_of(found.tag)]
        news = own[(self.start[own, k] != 0) & (self.worst[own, k] > _GROWS * self.told[own, k])]
        self._say(k, news, end=False)

    def _absorb(self, k: int, found: Findings) -> None:
        """Take one run of findings a tag, none further from the next than ends an episode."""
        starts = np.flatnonzero(first_of(found.tag))
        own, lengths = found.tag[starts], np.diff(np.append(starts, len(found.tag)))
        going_on = self.start[own, k] != 0
        joins = going_on & (found.time[starts] - self.last[own, k] <= CHECKS[k].close_us)
        self.close(k, own[going_on & ~joins])
        quiet, before = self.quiet_until[found.tag, k], self.before[found.tag, k]
        opens = found.may_open & ((found.time >= quiet) | (found.score >= _GROWS * before))
        row = np.arange(len(found.tag))
        begin = np.minimum.reduceat(np.where(opens | np.repeat(joins, lengths), row, len(row)), starts)
        score = np.where(row >= np.repeat(begin, lengths), found.score, -1.0)
        highest = np.maximum.reduceat(score, starts)
        top = np.minimum.reduceat(np.where(score == np.repeat(highest, lengths), row, len(row)), starts)
        last = starts + lengths - 1
        fresh = (begin < len(row)) & ~joins
        new = own[fresh]
        self.start[new, k], self.count[new, k] = found.time[begin[fresh]], 0
        self.worst[new, k] = self.told[new, k] = -1.0
        self.severity[new, k] = _WORDS.index(CHECKS[k].severity)
        self.open[k] += len(new)
        taken = begin < len(row)
        self.last[own[taken], k] = found.time[last[taken]]
        self.count[own[taken], k] += last[taken] - begin[taken] + 1
        worse = taken & (highest > self.worst[own, k])
        tags, at = own[worse], top[worse]
        self.worst[tags, k], self.value[tags, k], self.limit[tags, k] = (
            found.score[at],
            found.value[at],
            found.limit[at],
        )

    def stand(self, name: str, tag: Rows, start: Ints, last: Ints, score: Floats, value: Floats, error: Bools) -> None:
        """Take a state that goes on since `start`: opened once, and said again when it grows or becomes an error."""
        k = _NUMBERS[name]
        fresh = self.start[tag, k] == 0
        new = tag[fresh]
        self.start[new, k] = np.where(start[fresh] == 0, 1, start[fresh])
        self.told[new, k] = -1.0
        self.severity[new, k] = _WORDS.index(CHECKS[k].severity)
        self.open[k] += len(new)
        graver = error & (self.severity[tag, k] < _WORDS.index("ERROR"))
        self.severity[tag[graver], k] = _WORDS.index("ERROR")
        self.last[tag, k], self.worst[tag, k], self.value[tag, k], self.count[tag, k] = last, score, value, 1
        self._say(k, tag[fresh | graver], end=False)

    def close(self, k: int, tags: Rows) -> None:
        """End the open episodes of a check of these tags, with their last findings."""
        if not len(tags):
            return
        self._say(k, tags, end=True)
        self.quiet_until[tags, k] = self.last[tags, k] + CHECKS[k].quiet_us if CHECKS[k].quiet_us else 0
        self.before[tags, k] = self.worst[tags, k]
        self.start[tags, k] = 0
        self.open[k] -= len(tags)

    def pass_by(self, tags: Rows, time: Ints) -> None:
        """End what has had no finding for long enough, now that these tags' readings have come to `time`."""
        for k in np.flatnonzero(self.open * ~_BY_RECEIPT).tolist():
            if CHECKS[k].close_us:
                self.close(k, tags[(self.start[tags, k] != 0) & (time - self.last[tags, k] > CHECKS[k].close_us)])

    def expire(self, now_us: int, silent: Bools, gone: Bools) -> None:
        """End what is over by the time of receipt, and everything of the tags that have fallen silent.

        What its own check ends lasts through silence, until its whole connection is `gone`.
        """
        for k in np.flatnonzero(self.open).tolist():
            if CHECKS[k].by_receipt:
                over = now_us - self.last[:, k] > CHECKS[k].close_us
            else:
                over = silent if CHECKS[k].close_us else gone
            self.close(k, np.flatnonzero((self.start[:, k] != 0) & over))

    def end_all(self, tags: Rows) -> None:
        """End every episode of these tags: what was known of them is worth nothing any more."""
        for k in range(_N):
            self.close(k, tags[self.start[tags, k] != 0])

    def _say(self, k: int, tags: Rows, *, end: bool) -> None:
        if not len(tags):
            return
        rule = CHECKS[k]
        self.told[tags, k] = self.worst[tags, k]
        columns = [getattr(self, name)[tags, k].tolist() for name in _SAID]
        for tag, start, last, count, worst, value, limit, severity in zip(tags.tolist(), *columns, strict=True):
            # JSON knows no infinity, and nobody reads the tenth digit.
            figures = {"score": worst, "worst": value, "limit": limit}
            evidence: dict[str, float | int | str] = {"count": count}
            evidence |= {key: float(f"{item:.6g}") for key, item in figures.items() if math.isfinite(item)}
            ended = last + rule.width_us if end else None
            self._said.append((tag, Episode(rule.name, _WORDS[severity], start, tag, ended, evidence)))


_SAID = ("start", "last", "count", "worst", "value", "limit", "severity")
