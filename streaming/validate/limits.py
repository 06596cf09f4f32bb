"""What the checks know of every tag from the registry, and the checks of a value on its own.

| check | finding | what becomes of the reading |
|---|---|---|
| `sentinel` | a code of the tag for "no value" | BAD, value NaN |
| `not_finite` | NaN or infinite, unless the source says BAD itself | BAD, value NaN |
| `physical` | impossible for the quantity in its unit | BAD |
| `range` | outside the instrument's range by more than 0.5 % of its span | BAD |
"""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from streaming.validate.columns import Columns
from streaming.validate.thresholds import MINUTE_US
from wellos.quality import Quality

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.validate.columns import Bools, Floats, Ints, Rows
    from streaming.validate.thresholds import Thresholds
    from wellos.registry import Tag

__all__ = ["Definitions", "physical_limits"]

_LARGEST = 1e100  # what the database's own check lets a usable value be
_SPAN_TOLERANCE = 0.005
_RUNNING_SPAN = 0.02
_FAHRENHEIT = {**dict.fromkeys(("F", "degF", "°F"), 1.0), **dict.fromkeys(("C", "degC", "°C", "K"), 1 / 1.8)}
_LEAST_HOLD_US, _MOST_HOLD_US = 5 * MINUTE_US, 60 * MINUTE_US

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
_DRIVES = {"rate", "current", "frequency", "speed"}
_COUNTS = {"total", "count", "state", "status"}


def physical_limits(tag: Tag) -> tuple[float, float]:
    """Return what the tag's quantity can be at all in its unit, infinite where nothing is impossible.

    A rate may read below zero by its zero drift, 0.5 % of the instrument's span.
    """
    unit, drift = tag.unit or "", _span(tag) * _SPAN_TOLERANCE
    if tag.quantity == "pressure":
        return _PRESSURE_FLOOR.get(unit, -math.inf), math.inf
    if tag.quantity == "temperature":
        return _TEMPERATURE.get(unit, (-math.inf, math.inf))
    if tag.quantity == "fraction":
        low, high = _FRACTION.get(unit, (-math.inf, math.inf))
        return low - drift, high + drift
    return (-drift if tag.quantity in _NOT_NEGATIVE else -math.inf), math.inf


def _span(tag: Tag) -> float:
    return tag.high - tag.low if tag.low is not None and tag.high is not None else 0.0


def _meaning(tag: Tag) -> int:
    """Of the fields that say what a value means: when one changes, what was learnt of the tag is worth nothing.

    Limits are not among them: they may change while what is known of the tag stays.
    """
    fields = (tag.tenant_id, tag.well, tag.name, tag.unit, tag.quantity, tag.scale, tag.offset, tag.deadband, tag.mode)
    text = repr((*map(str, fields), str(tag.resolution)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), signed=True) or 1


class Definitions(Columns):
    """The registry's columns, as the checks need them."""

    SPEC: ClassVar[dict[str, tuple[str, int]]] = {
        "connection": ("i4", 0),
        "owner": ("i4", 0),
        "meaning": ("i8", 0),
        "low": ("f8", 0),
        "high": ("f8", 0),
        "physical_low": ("f8", 0),
        "physical_high": ("f8", 0),
        "span": ("f8", 0),
        "floor": ("f8", 0),
        "step": ("f8", 0),
        "roc": ("f8", 0),
        "hold": ("i8", 0),
        "well": ("i4", 0),
        "paced": ("?", 0),
        "drive": ("?", 0),
        "running_above": ("f8", 0),
        "scored": ("?", 0),
        "coded": ("?", 0),
    }
    connection: NDArray[np.int32]
    """0: of no connection now."""
    owner: NDArray[np.int32]
    """The connection it is or was last of."""
    meaning: Ints
    low: Floats
    high: Floats
    physical_low: Floats
    physical_high: Floats
    span: Floats
    """0: not known."""
    floor: Floats
    """Least deviation that means anything: half the deadband, or the resolution."""
    step: Floats
    """A smaller difference between neighbours is no change: half of `floor`."""
    roc: Floats
    """Largest change in a minute, infinite for none."""
    hold: Ints
    """How long a reading stands for what follows, microseconds."""
    well: NDArray[np.int32]
    paced: Bools
    """How long it may stand still is learnt: by exception, or a totaliser, which moves by whole steps."""
    drive: Bools
    """Its running says that the well is on."""
    running_above: Floats
    scored: Bools
    """The z-score means something: no totaliser, no state."""
    coded: Bools
    """Has sentinels."""

    def __init__(self, thresholds: Thresholds) -> None:
        """Start without tags."""
        super().__init__()
        self._thresholds = thresholds
        self._wells: dict[tuple[object, str], int] = {}
        self._sentinels = np.full((0, 1), np.nan)

    @property
    def wells(self) -> int:
        """How many wells there are, and one more: they count from 1."""
        return len(self._wells) + 1

    def add(self, connection_id: int, tags: tuple[Tag, ...]) -> Rows:
        """Take these tags over; return those whose readings meant something else before."""
        rows, codes = max(tag.tag_id for tag in tags) + 1, max(len(tag.sentinels) for tag in tags)
        self.grow(rows)
        pad = (0, self.rows - len(self._sentinels)), (0, max(0, codes - self._sentinels.shape[1]))
        if pad != ((0, 0), (0, 0)):
            self._sentinels = np.pad(self._sentinels, pad, constant_values=np.nan)
        return np.array([tag.tag_id for tag in tags if self._set(connection_id, tag)], np.intp)

    def _set(self, connection_id: int, tag: Tag) -> bool:
        row, span = tag.tag_id, _span(tag)
        self.connection[row] = self.owner[row] = connection_id
        slack = span * _SPAN_TOLERANCE
        self.low[row] = -math.inf if tag.low is None else tag.low - slack
        self.high[row] = math.inf if tag.high is None else tag.high + slack
        self.physical_low[row], self.physical_high[row] = physical_limits(tag)
        self.span[row] = span
        self.floor[row] = max(tag.deadband / 2, tag.resolution or 0.0)
        self.step[row] = self.floor[row] / 2
        self.roc[row] = self._largest_change(tag)
        hold = tag.interval_s * 1e6 * (3 if tag.mode == "poll" else 1.5)
        self.hold[row] = min(max(hold, _LEAST_HOLD_US), _MOST_HOLD_US)
        self.well[row] = self._wells.setdefault((tag.tenant_id, tag.well), len(self._wells) + 1)
        self.paced[row] = tag.mode == "rbe" or tag.quantity in _COUNTS
        self.drive[row] = tag.quantity in _DRIVES
        self.running_above[row] = (tag.low or 0.0) + span * _RUNNING_SPAN
        self.scored[row] = tag.quantity not in _COUNTS
        # What the device sends, scaled as a reading is.
        codes = [s * tag.scale + tag.offset for s in tag.sentinels if math.isfinite(s)]
        self.coded[row] = bool(codes)
        self._sentinels[row] = np.nan
        self._sentinels[row, : len(codes)] = codes
        before, self.meaning[row] = self.meaning[row], _meaning(tag)
        return bool(before not in (0, self.meaning[row]))

    def _largest_change(self, tag: Tag) -> float:
        if tag.quantity == "pressure" and _span(tag) > 0:
            return _span(tag) * self._thresholds.roc_span_pct / 100
        if tag.quantity == "temperature" and tag.unit in _FAHRENHEIT:
            return self._thresholds.roc_temperature_f * _FAHRENHEIT[tag.unit]
        return math.inf

    def grade(self, tag: Rows, value: Floats, quality: NDArray[np.uint8]) -> dict[str, Bools]:
        """Lower the quality, in place, of what cannot be a value of its tag, and return what was found where."""
        absent = ~np.isfinite(value)
        found: dict[str, Bools] = {}
        sentinel = self._coded(tag, value)
        if sentinel is not None:
            found["sentinel"] = sentinel
            absent |= sentinel
        if absent.any():
            # A source that says BAD itself has no value to give: that is no finding of ours.
            silent = absent & (quality != Quality.BAD)
            found["not_finite"] = silent if sentinel is None else silent & ~sentinel
            value[absent] = np.nan
        # NaN compares false, as is meant.
        physical = (value < self.physical_low[tag]) | (value > self.physical_high[tag]) | (np.abs(value) > _LARGEST)
        outside = ((value < self.low[tag]) | (value > self.high[tag])) & ~physical
        found |= {"physical": physical, "range": outside}
        quality[absent | physical | outside] = Quality.BAD
        return {name: mask for name, mask in found.items() if mask.any()}

    def _coded(self, tag: Rows, value: Floats) -> Bools | None:
        rows = np.flatnonzero(self.coded[tag])
        if not len(rows):
            return None
        codes = self._sentinels[tag[rows]]
        # Half a unit in the last place of a 32-bit float: -9999.9 comes as the nearest one of those.
        hits = rows[(np.abs(value[rows, None] - codes) <= 6e-8 * np.abs(codes)).any(axis=1)]
        if not len(hits):
            return None
        mask: Bools = np.zeros(len(tag), np.bool_)
        mask[hits] = True
        return mask
