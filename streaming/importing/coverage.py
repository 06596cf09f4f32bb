"""Which stretches of which tag a file has readings of, so that the gaps they fill can be closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wellos.readings import Readings

__all__ = ["Coverage", "OpenGap"]

_SLACK = 3
"""Readings further apart than this many intervals leave a hole."""


class OpenGap(NamedTuple):
    """A gap that nothing has closed yet."""

    connection_id: int
    tag_id: int | None
    start_us: int
    end_us: int


class Coverage:
    """Spans of each tag, grown piece by piece."""

    def __init__(self, interval_us: Mapping[int, int]) -> None:
        """`interval_us`: the expected time between readings of each tag."""
        self._interval = interval_us
        self._spans: dict[int, list[tuple[int, int]]] = {}
        self._slack: dict[int, int] = {}

    def add(self, readings: Readings) -> None:
        """Take the readings of one piece, in any order."""
        if not len(readings):
            return
        ordered = readings[np.lexsort((readings["time"], readings["tag_id"]))]
        starts = np.flatnonzero(np.diff(ordered["tag_id"], prepend=np.int32(-1)))
        for first, end in zip(starts.tolist(), [*starts[1:].tolist(), len(ordered)], strict=True):
            self._add(int(ordered["tag_id"][first]), ordered["time"][first:end])

    def _add(self, tag: int, times: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
        steps = np.diff(times)
        usual = int(np.median(steps)) if len(steps) else 0
        slack = max(self._slack.get(tag, 0), _SLACK * max(usual, self._interval.get(tag, 0)))
        self._slack[tag] = slack
        breaks = np.flatnonzero(steps > slack)
        lows, highs = times[np.concatenate(([0], breaks + 1))], times[np.concatenate((breaks, [len(times) - 1]))]
        spans = sorted([*self._spans.get(tag, []), *zip(lows.tolist(), highs.tolist(), strict=True)])
        joined = [spans[0]]
        for low, high in spans[1:]:
            if low - joined[-1][1] <= slack:
                joined[-1] = (joined[-1][0], max(joined[-1][1], high))
            else:
                joined.append((low, high))
        self._spans[tag] = joined

    def covers(self, tag: int, start_us: int, end_us: int) -> bool:
        """Whether the file has this tag from about `start` to about `end` without a hole."""
        slack = self._slack.get(tag, 0)
        return any(low - slack <= start_us and end_us <= high + slack for low, high in self._spans.get(tag, ()))

    def filled(self, gaps: Iterable[OpenGap], tags: Mapping[int, Iterable[int]]) -> list[OpenGap]:
        """Return the gaps that the file fills; one of a whole connection needs all its tags (`tags` by connection)."""
        return [
            gap
            for gap in gaps
            if all(
                self.covers(tag, gap.start_us, gap.end_us)
                for tag in (tags.get(gap.connection_id, ()) if gap.tag_id is None else (gap.tag_id,))
            )
        ]
