"""Watches whole connections over 15 minutes of receipt: their clocks, and how much they repeat.

| check | definition |
|---|---|
| `clock_skew` | median of received - source over 30 readings or more: beyond 60 s WARN, beyond 300 s ERROR |
| `duplicates` | repeats above 1 % of 100 readings or more: WARN |

A skew within 60 s of whole hours is named a time zone. Where the middle 80 % of a window spread over more than 60 s it
is not judged: a backlog is no wrong clock. Readings from history, and those whose time is assumed, say nothing of a
clock; those too far ahead say most of it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from streaming.delivery import Episode
from streaming.validate.thresholds import MINUTE_US, SECOND_US

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.delivery import Severity
    from streaming.validate.columns import Ints

__all__ = ["Connections"]

WINDOW_US = 15 * MINUTE_US
_ENOUGH_LAGS, _ENOUGH_READINGS = 30, 100
_DUPLICATES = 0.01
_ERROR_TIMES = 5
_SPREAD_S = 60
_HOUR_S = 3600
_MOST_LAGS = 4000
"""Different lags, in seconds, that are told apart in a window; more come from a backlog alone, which says nothing."""


@dataclass(slots=True)
class _Window:
    """What came over one connection since the window began."""

    number: int = 0
    readings: int = 0
    duplicates: int = 0
    lags: dict[int, int] = field(default_factory=dict)
    """Seconds -> readings."""
    open: dict[str, Episode] = field(default_factory=dict)
    """By check."""


class Connections:
    """One window a connection."""

    def __init__(self, warn_s: float) -> None:
        """Start with none."""
        self._warn_s = warn_s
        self._windows: dict[int, _Window] = {}
        self._said: list[tuple[int, Episode]] = []

    def drain(self) -> list[tuple[int, Episode]]:
        """Return (connection, episode) of all there is to say since the last call."""
        said, self._said = self._said, []
        return said

    def take(self, connection_id: int, received_us: int, readings: int, duplicates: int) -> None:
        """Count one delivery."""
        window = self._windows.setdefault(connection_id, _Window())
        number = received_us // WINDOW_US
        if number > window.number:
            self._close(connection_id, window)
            window.number = number
        window.readings += readings
        window.duplicates += duplicates

    def note_lags(self, connection: Ints, lag_us: Ints) -> None:
        """Take received - source of readings that tell something of the clock, after `take` of their deliveries."""
        if not len(lag_us):
            return
        second = lag_us // SECOND_US
        starts = np.flatnonzero(np.concatenate(([True], (np.diff(connection) != 0) | (np.diff(second) != 0))))
        lengths = np.diff(np.append(starts, len(second)))
        runs = zip(connection[starts].tolist(), second[starts].tolist(), lengths.tolist(), strict=True)
        for number, lag, count in runs:
            lags = self._windows[number].lags
            if lag in lags or len(lags) < _MOST_LAGS:
                lags[lag] = lags.get(lag, 0) + count

    def expire(self, now_us: int) -> None:
        """Judge the windows that are over by platform time."""
        for connection_id, window in self._windows.items():
            if now_us // WINDOW_US > window.number and (window.readings or window.open):
                self._close(connection_id, window)

    def _close(self, connection_id: int, window: _Window) -> None:
        """Judge a window, and begin the next."""
        start = window.number * WINDOW_US
        if window.number:
            self._judge(connection_id, window, "clock_skew", start, *self._skew(window))
            self._judge(connection_id, window, "duplicates", start, *self._repeats(window))
        window.readings = window.duplicates = 0
        window.lags.clear()

    def _skew(self, window: _Window) -> tuple[Severity | None, Mapping[str, float | int | str]]:
        number = sum(window.lags.values())
        if number < _ENOUGH_LAGS:
            return None, {}
        lags = np.array(sorted(window.lags), np.int64)
        share = np.cumsum([window.lags[int(lag)] for lag in lags]) / number
        low, median, high = (int(lags[np.searchsorted(share, part)]) for part in (0.1, 0.5, 0.9))
        if abs(median) <= self._warn_s or high - low > _SPREAD_S:
            return None, {}
        evidence: dict[str, float | int | str] = {"median_s": median, "limit_s": self._warn_s, "count": number}
        hours = round(median / _HOUR_S)
        if hours and abs(median - hours * _HOUR_S) <= _SPREAD_S:
            evidence |= {"cause": "time zone or daylight saving", "hours": hours}
        return ("ERROR" if abs(median) > _ERROR_TIMES * self._warn_s else "WARN"), evidence

    def _repeats(self, window: _Window) -> tuple[Severity | None, Mapping[str, float | int | str]]:
        if window.readings < _ENOUGH_READINGS or window.duplicates <= _DUPLICATES * window.readings:
            return None, {}
        share = round(window.duplicates / window.readings, 4)
        return "WARN", {"share": share, "limit": _DUPLICATES, "count": window.duplicates}

    def _judge(
        self,
        connection_id: int,
        window: _Window,
        check: str,
        start: int,
        severity: Severity | None,
        evidence: Mapping[str, float | int | str],
    ) -> None:
        opened = window.open.get(check)
        if severity is None:
            if opened is not None:
                del window.open[check]
                self._said.append((connection_id, replace(opened, end_us=max(start, opened.start_us))))
            return
        if opened is not None and opened.severity == "ERROR":
            severity = "ERROR"
        begun = start if opened is None else opened.start_us
        episode = Episode(check, severity, begun, evidence=evidence)
        if opened is None or opened.severity != severity:
            window.open[check] = episode
            self._said.append((connection_id, episode))

    def state(self) -> dict[str, Any]:
        """Return all of it as JSON takes it."""
        return {str(key): asdict(window) for key, window in self._windows.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave; TypeError, ValueError or KeyError when it is not like this."""
        for key, saved in state.items():
            lags = {int(second): int(count) for second, count in saved["lags"].items()}
            opened = {check: Episode(**episode) for check, episode in saved["open"].items()}
            counts = int(saved["number"]), int(saved["readings"]), int(saved["duplicates"])
            self._windows[int(key)] = _Window(*counts, lags, opened)

    def replay(self, connection_id: int, episode: Episode) -> None:
        """Take back what was said after `state` was written."""
        window = self._windows.setdefault(connection_id, _Window())
        if episode.end_us is None:
            window.open[episode.check] = episode
        else:
            window.open.pop(episode.check, None)
