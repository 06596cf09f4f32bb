"""The faults of the field: a seeded plan of a few a day, and what each does to what a device sends.

The plan knows nothing of any detector: kinds, sizes and lengths are drawn from what instruments and links do. Every
fault begins on a whole minute and ends within its UTC day, and a well has at most one a day, so that each can be told
apart.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from wellos.simulator.behaviour import DAY_US
from wellos.simulator.model import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from wellos.simulator.behaviour import Floats
    from wellos.simulator.model import FaultKind, SimTag, SimWell

__all__ = ["FaultPlan", "Scans", "apply"]

_MINUTE_US = 60_000_000
_KINDS: tuple[tuple[FaultKind, float], ...] = (
    ("stuck_sensor", 0.22),
    ("spike", 0.2),
    ("dropout", 0.2),
    ("bad_status", 0.16),
    ("unit_slip", 0.12),
    ("clock_skew", 0.1),
)
_MINUTES: dict[FaultKind, tuple[int, int]] = {
    "stuck_sensor": (60, 480),
    "dropout": (5, 90),
    "bad_status": (5, 120),
    "unit_slip": (60, 360),
    "clock_skew": (60, 600),
    "frozen_connection": (30, 120),
}
_FROZEN_DAYS = 0.25  # share of days on which a whole connection freezes
_SLIPS = {"psi": ("bar", 0.0689476, 0.0), "degF": ("degC", 1 / 1.8, -32 / 1.8), "bbl/d": ("m3/d", 0.158987, 0.0),
          "mcf/d": ("e3m3/d", 0.0283168, 0.0)}  # fmt: skip
_NO_VALUE = (0x808C0000, 0x808B0000, 0x80050000)  # BadSensorFailure, BadDeviceFailure, BadCommunicationError
_DOUBTFUL = (0x40930000, 0x40950000)  # UncertainSensorNotAccurate, UncertainSubNormal


class FaultPlan:
    """Every fault of a field, day by day, from its seed."""

    def __init__(self, seed: int, wells: tuple[SimWell, ...]) -> None:
        """Nothing is drawn yet: each day is drawn when it is asked for."""
        self._seed, self._wells = seed, wells
        self._connections = tuple(dict.fromkeys(well.connection for well in wells))
        self.day = lru_cache(maxsize=64)(self._draw_day)

    def between(self, start_us: int, end_us: int) -> list[Fault]:
        """Return faults that show at any moment of [start, end), by start."""
        days = range(start_us // DAY_US, -(-end_us // DAY_US))
        found = (fault for day in days for fault in self.day(day))
        return [fault for fault in found if fault.start_us < end_us and fault.end_us > start_us]

    def _draw_day(self, day: int) -> tuple[Fault, ...]:
        rng = np.random.default_rng([self._seed, day])
        faults, taken = [], set()
        if rng.random() < _FROZEN_DAYS:
            name = self._connections[rng.integers(len(self._connections))]
            start, end = self._when(rng, "frozen_connection", day)
            for well, description in enumerate(self._wells):
                if description.connection == name:
                    taken.add(well)
                    faults.append(self._fault("frozen_connection", well, None, (start, end), {"connection": name}))
        wanted = min(len(self._wells), max(3, len(self._wells) // 3))
        free = [int(well) for well in rng.permutation(len(self._wells)) if int(well) not in taken]
        faults.extend(self._draw(rng, well, day) for well in free[:wanted])
        return tuple(sorted(faults, key=lambda fault: (fault.start_us, fault.well)))

    def _draw(self, rng: np.random.Generator, well: int, day: int) -> Fault:
        names, shares = zip(*_KINDS, strict=True)
        kind: FaultKind = names[rng.choice(len(names), p=shares)]
        if kind == "clock_skew" and self._wells[well].protocol == "modbus":
            kind = "dropout"  # Modbus carries no source time that could be wrong
        tags = self._wells[well].tags
        span = self._when(rng, kind, day)
        analog = [number for number, tag in enumerate(tags) if tag.rollover is None]
        if kind == "clock_skew":
            # A quarter of a second keeps skewed source times off the grid of the true ones.
            return self._fault(kind, well, None, span, {"skew_s": int(rng.integers(90, 900)) + 0.25})
        if kind == "dropout":
            whole = rng.random() < 0.4
            return self._fault(kind, well, None if whole else int(rng.integers(len(tags))), span, {})
        number = int(rng.choice(analog))
        if kind == "spike":
            # At most half the range: then there is room for it either above or below.
            size = round(float(rng.uniform(0.3, 0.49)) * tags[number].high, 3)
            span = (span[0], span[0] + tags[number].scan_s * 1_000_000)
            return self._fault(kind, well, number, span, {"size": size})
        if kind == "unit_slip" and tags[number].unit in _SLIPS:
            shown, factor, offset = _SLIPS[tags[number].unit]
            slip: dict[str, float | str] = {"shown_as": shown, "factor": factor, "offset": offset}
            return self._fault(kind, well, number, span, slip)
        if kind == "bad_status":
            modbus = self._wells[well].protocol == "modbus"  # no way to say "doubtful"
            codes = _NO_VALUE if modbus or rng.random() < 0.6 else _DOUBTFUL
            return self._fault(kind, well, number, span, {"status": int(rng.choice(codes))})
        return self._fault("stuck_sensor", well, number, span, {})

    def _when(self, rng: np.random.Generator, kind: FaultKind, day: int) -> tuple[int, int]:
        low, high = _MINUTES.get(kind, (1, 1))
        minutes = int(rng.integers(low, high + 1))
        start = day * DAY_US + int(rng.integers(0, 1440 - minutes)) * _MINUTE_US
        return start, start + minutes * _MINUTE_US

    def _fault(
        self, kind: FaultKind, well: int, tag: int | None, span: tuple[int, int], parameters: dict[str, float | str]
    ) -> Fault:
        day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=span[0])
        name = f"{day:%Y%m%dT%H%MZ}-{self._wells[well].name}-{kind}"
        tags = tuple(range(len(self._wells[well].tags))) if tag is None else (tag,)
        return Fault(name, kind, well, tags, *span, parameters)


class Scans(NamedTuple):
    """What the instruments of some tags of one well showed at one grid of times; faults alter it in place."""

    numbers: NDArray[np.int64]
    """Tag numbers: the rows."""
    time: NDArray[np.int64]
    """When it was sent, ascending: the columns."""
    value: Floats
    status: NDArray[np.uint32]
    sent: NDArray[np.bool_]
    lag: NDArray[np.int64]
    """Microseconds by which the device's clock is behind, a column."""


def apply(fault: Fault, scans: Scans, tags: tuple[SimTag, ...], measure: Callable[[int, int], float]) -> None:
    """Do to the scans what a fault does; `measure(tag, time)` is what an instrument showed at one moment."""
    first, last = np.searchsorted(scans.time, (fault.start_us, fault.end_us))
    if first == last:
        return
    span = slice(first, last)
    if fault.kind == "clock_skew":
        scans.lag[span] = int(float(fault.parameters["skew_s"]) * 1_000_000)
        return
    for row in np.flatnonzero(np.isin(scans.numbers, fault.tags)):
        number = int(scans.numbers[row])
        _alter(fault, scans, int(row), span, tags[number], measure)


def _alter(
    fault: Fault, scans: Scans, row: int, span: slice, tag: SimTag, measure: Callable[[int, int], float]
) -> None:
    value = scans.value[row, span]
    match fault.kind:
        case "stuck_sensor" | "frozen_connection":
            value[:] = measure(int(scans.numbers[row]), fault.start_us)
        case "spike":
            size = float(fault.parameters["size"])
            value += np.where(value + size <= tag.high, size, -size)
        case "unit_slip":
            slipped = value * float(fault.parameters["factor"]) + float(fault.parameters["offset"])
            value[:] = np.rint(slipped / tag.resolution) * tag.resolution
        case "bad_status":
            status = int(fault.parameters["status"])
            scans.status[row, span] = status
            if status >> 30 == 2:
                value[:] = np.nan
        case "dropout":
            scans.sent[row, span] = False
