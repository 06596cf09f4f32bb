"""Checks every reading against its tag, vectorised over arrays indexed by `tag_id`; pure, time comes as an argument.

| check | finding | what becomes of the reading |
|---|---|---|
| `unknown_tag` | no tag of this connection | rejected |
| `no_time` | source time before the year 1, which no device means | rejected, with the reading |
| `future` | source time beyond platform time + tolerance | rejected, with the reading |
| `sentinel`, `not_finite` | a code for "no value", NaN or infinite | stored as BAD, value NaN |
| `physical` | impossible for the quantity in its unit | stored as BAD |
| `range` | outside the instrument's range by more than 0.5 % of its span | stored as BAD |
| `duplicate` | same tag, source time and value as one of its last 64 within the window | dropped, counted |
| `late` | received long after its source time | stored, counted |

The raw status is kept whatever is found. A repeat that arrives with a better quality is no duplicate: it is stored, and
the sink lets the better one win. Repeats that are older than what is remembered here are found by the sink's key.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from streaming.delivery import Rejected
from wellos.clock import from_micros
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.registry import Connection, Tag

__all__ = ["Checked", "Validator", "physical_limits"]

_REMEMBERED = 64
_NEVER = np.iinfo(np.int64).min
_YEAR_1 = -62_135_596_800_000_000
_LARGEST = 1e100  # what the database's own check lets a usable value be
_SPAN_TOLERANCE = 0.005

_PRESSURE_FLOOR = {
    **dict.fromkeys(("psi", "psig"), -14.7),
    "psia": 0.0,
    "kPa": -101.4,
    "bar": -1.014,
    "barg": -1.014,
    "Pa": -101_400.0,
    "MPa": -0.1014,
    "mbar": -1014.0,
}
_TEMPERATURE = {
    **dict.fromkeys(("F", "degF", "°F"), (-60.0, 350.0)),
    **dict.fromkeys(("C", "degC", "°C"), (-51.2, 176.7)),
    "K": (222.0, 449.9),
}
_FRACTION = {"%": (0.0, 100.0), "fraction": (0.0, 1.0)}
_NOT_NEGATIVE = {"rate", "total", "volume", "current", "frequency", "speed", "density", "viscosity", "count"}


def physical_limits(tag: Tag) -> tuple[float, float]:
    """Return what the tag's quantity can be at all in its unit, infinite where nothing is impossible.

    A rate may read below zero by its zero drift, 0.5 % of the instrument's span.
    """
    unit, span = tag.unit or "", (tag.high - tag.low) if tag.low is not None and tag.high is not None else 0.0
    drift = span * _SPAN_TOLERANCE
    if tag.quantity == "pressure":
        return _PRESSURE_FLOOR.get(unit, -math.inf), math.inf
    if tag.quantity == "temperature":
        return _TEMPERATURE.get(unit, (-math.inf, math.inf))
    if tag.quantity == "fraction":
        low, high = _FRACTION.get(unit, (-math.inf, math.inf))
        return low - drift, high + drift
    return (-drift if tag.quantity in _NOT_NEGATIVE else -math.inf), math.inf


@dataclass(slots=True)
class Checked:
    """What is left of a batch, and what was found in it."""

    readings: Readings
    rejected: tuple[Rejected, ...] = ()
    duplicates: int = 0
    findings: dict[str, int] = field(default_factory=dict)
    """Check -> how many readings; only those that found something."""


class Validator:
    """Limits and recent readings of every tag."""

    def __init__(self, *, future_tolerance_s: float, duplicate_window_s: float, late_after_s: float) -> None:
        """Start without tags: `configure` brings them."""
        self._tolerance_us = round(future_tolerance_s * 1e6)
        self._window_us = round(duplicate_window_s * 1e6)
        self._late_us = round(late_after_s * 1e6)
        self._connection = np.zeros(0, np.int32)
        self._range = np.zeros((0, 2))
        self._physical = np.zeros((0, 2))
        self._sentinels = np.full((0, 1), np.nan)
        self._newest = np.zeros(0, np.int64)
        self._count = np.zeros(0, np.int64)
        self._seen_time = np.zeros((0, _REMEMBERED), np.int64)
        self._seen_value = np.zeros((0, _REMEMBERED), np.uint64)
        self._seen_quality = np.zeros((0, _REMEMBERED), np.uint8)
        self._seen_at = np.zeros((0, _REMEMBERED), np.int64)

    def configure(self, connections: Iterable[Connection]) -> None:
        """Take over these connections' tags; what is remembered of each tag's readings stays."""
        for connection in connections:
            self._connection[self._connection == connection.connection_id] = 0
            if not connection.tags:
                continue
            self._grow(
                max(tag.tag_id for tag in connection.tags) + 1, max(len(tag.sentinels) for tag in connection.tags)
            )
            for tag in connection.tags:
                self._set(connection.connection_id, tag)

    def check(self, connection_id: int, readings: Readings, received_us: int, now_us: int) -> Checked:
        """Check one connection's readings in the order they were received; `readings` is not changed."""
        findings: dict[str, int] = {}
        rejected: list[Rejected] = []
        if not len(readings):
            return Checked(readings)
        tags = readings["tag_id"]
        known = (tags >= 0) & (tags < len(self._connection))
        known &= self._connection[np.where(known, tags, 0)] == connection_id if len(self._connection) else False
        if not known.all():
            findings["unknown_tag"] = _reject(
                rejected, readings[~known], "unknown_tag", "no such tag on this connection"
            )
            readings = readings[known]
        timeless = readings["time"] < _YEAR_1
        if timeless.any():
            findings["no_time"] = _reject(rejected, readings[timeless], "no_time", "source time before the year 1")
            readings = readings[~timeless]
        future = readings["time"] > now_us + self._tolerance_us
        if future.any():
            detail = f"source time is ahead of platform time {from_micros(now_us):%Y-%m-%dT%H:%M:%S.%fZ}"
            findings["future"] = _reject(rejected, readings[future], "future", detail)
            readings = readings[~future]
        readings = self._grade(readings.copy(), findings)
        repeated = self._find_repeats(readings, now_us)
        duplicates = int(np.count_nonzero(repeated))
        if duplicates:
            findings["duplicate"] = duplicates
            readings = readings[~repeated]
        late = int(np.count_nonzero(readings["time"] < received_us - self._late_us))
        if late:
            findings["late"] = late
        return Checked(readings, tuple(rejected), duplicates, findings)

    def _grow(self, tags: int, sentinels: int) -> None:
        more, wider = max(0, tags - len(self._connection)), max(0, sentinels - self._sentinels.shape[1])
        pad: tuple[tuple[int, int], tuple[int, int]] = ((0, more), (0, wider))
        self._sentinels = np.pad(self._sentinels, pad, constant_values=np.nan)
        if not more:
            return
        for name, fill in (("_connection", 0), ("_newest", _NEVER), ("_count", 0)):
            setattr(self, name, np.pad(getattr(self, name), (0, more), constant_values=fill))
        for name in ("_range", "_physical", "_seen_time", "_seen_value", "_seen_quality", "_seen_at"):
            old = getattr(self, name)
            new = np.zeros((tags, old.shape[1]), old.dtype)  # untouched pages cost no memory
            new[: len(old)] = old
            setattr(self, name, new)

    def _set(self, connection_id: int, tag: Tag) -> None:
        row = tag.tag_id
        self._connection[row] = connection_id
        low, high = -math.inf if tag.low is None else tag.low, math.inf if tag.high is None else tag.high
        slack = (high - low) * _SPAN_TOLERANCE if math.isfinite(high - low) else 0.0
        self._range[row] = low - slack, high + slack
        self._physical[row] = physical_limits(tag)
        self._sentinels[row] = np.nan
        # What the device sends, scaled as a reading is.
        codes = [s * tag.scale + tag.offset for s in tag.sentinels if math.isfinite(s)]
        self._sentinels[row, : len(codes)] = codes

    def _grade(self, readings: Readings, findings: dict[str, int]) -> Readings:
        """Lower the quality of what cannot be a value of its tag; a missing value is NaN and BAD."""
        tags, value = readings["tag_id"], readings["value"]
        usable = readings["quality"] != Quality.BAD
        codes = self._sentinels[tags]
        # Half a unit in the last place of a 32-bit float: -9999.9 comes as the nearest one of those.
        sentinel = (np.abs(value[:, None] - codes) <= 6e-8 * np.abs(codes)).any(axis=1)
        absent = sentinel | ~np.isfinite(value)
        limits, bounds = self._physical[tags], self._range[tags]
        physical = ~absent & ((value < limits[:, 0]) | (value > limits[:, 1]) | (np.abs(value) > _LARGEST))
        outside = ~absent & ~physical & ((value < bounds[:, 0]) | (value > bounds[:, 1]))
        found = {
            "sentinel": sentinel,
            # A source that says BAD itself has no value to give: that is no finding of ours.
            "not_finite": absent & ~sentinel & usable,
            "physical": physical,
            "range": outside,
        }
        findings.update({name: int(np.count_nonzero(mask)) for name, mask in found.items() if mask.any()})
        readings["quality"][absent | physical | outside] = Quality.BAD
        readings["value"][absent] = np.nan
        return readings

    def _find_repeats(self, readings: Readings, now_us: int) -> NDArray[np.bool_]:
        """Mark what was seen before, and remember the rest."""
        repeated = np.zeros(len(readings), np.bool_)
        if not len(readings):
            return repeated
        order = np.argsort(readings["tag_id"], kind="stable")
        tags, times = readings["tag_id"][order], readings["time"][order]
        first = np.concatenate(([True], tags[1:] != tags[:-1]))
        before = np.where(first, self._newest[tags], np.concatenate(([0], times[:-1])))
        suspects = np.zeros(len(self._newest), np.bool_)
        suspects[tags[times <= before]] = True
        # A tag whose times only grow cannot repeat itself: nearly always that is all there is to do.
        if suspects.any():
            repeated[order] = self._compare(readings[order], suspects[tags], now_us)
            order = order[~repeated[order]]
            tags, times = readings["tag_id"][order], readings["time"][order]
            first = np.concatenate(([True], tags[1:] != tags[:-1])) if len(tags) else np.zeros(0, np.bool_)
        self._remember(readings[order], tags, times, first, now_us)
        return repeated

    def _compare(self, ordered: Readings, suspect: NDArray[np.bool_], now_us: int) -> NDArray[np.bool_]:
        repeated = np.zeros(len(ordered), np.bool_)
        rows = np.flatnonzero(suspect)
        tags, times, quality = ordered["tag_id"][rows], ordered["time"][rows], ordered["quality"][rows]
        bits = np.ascontiguousarray(ordered["value"][rows]).view(np.uint64)
        seen = (
            (self._seen_time[tags] == times[:, None])
            & (self._seen_value[tags] == bits[:, None])
            & (self._seen_quality[tags] >= quality[:, None])
            & (self._seen_at[tags] >= now_us - self._window_us)
            & (self._seen_at[tags] != 0)
        )
        repeated[rows] = seen.any(axis=1)
        within = np.lexsort((bits, times, tags))  # stable: of equal ones the first received comes first
        same = (np.diff(tags[within]) == 0) & (np.diff(times[within]) == 0) & (bits[within][1:] == bits[within][:-1])
        # Against the best so far of the same reading, which is not always the one just before.
        group = np.concatenate(([0], np.cumsum(~same))) * 4
        best = np.maximum.accumulate(group + quality[within])
        same &= group[1:] + quality[within][1:] <= best[:-1]
        repeated[rows[within[1:][same]]] = True
        return repeated

    def _remember(
        self,
        ordered: Readings,
        tags: NDArray[np.int32],
        times: NDArray[np.int64],
        first: NDArray[np.bool_],
        now_us: int,
    ) -> None:
        if not len(tags):
            return
        starts = np.flatnonzero(first)
        lengths = np.diff(np.append(starts, len(tags)))
        rank = np.arange(len(tags)) - np.repeat(starts, lengths)
        slot = (self._count[tags] + rank) % _REMEMBERED
        self._seen_time[tags, slot] = times
        self._seen_value[tags, slot] = np.ascontiguousarray(ordered["value"]).view(np.uint64)
        self._seen_quality[tags, slot] = ordered["quality"]
        self._seen_at[tags, slot] = now_us
        self._count[tags[starts]] += lengths
        newest = np.maximum.reduceat(times, starts)
        self._newest[tags[starts]] = np.maximum(self._newest[tags[starts]], newest)


def _reject(rejected: list[Rejected], readings: Readings, reason: str, detail: str) -> int:
    size, raw = readings.dtype.itemsize, readings.tobytes()
    rejected.extend(
        Rejected(reason, detail, f"tag {tag}", raw[at * size : (at + 1) * size])
        for at, tag in enumerate(readings["tag_id"].tolist())
    )
    return len(readings)
