"""Gauge-offs: when a pumper stands at a well's tanks, and what an honest tape, chart and dial then show.

Tanks are 12 feet across, 1.67 barrels an inch; the tape is read to a quarter inch and held a little crooked. A volume
is the difference of two gauges, run tickets accounted for, so that an error of one gauge comes back with the other sign
in the next. Gas is read off a chart, within some two per cent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np

from wellos.clock import from_micros, to_micros
from wellos.simulator import noise
from wellos.simulator.signals import read

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wellos.simulator.behaviour import Floats
    from wellos.simulator.field import Field

__all__ = ["BARRELS_PER_INCH", "GAUGE_STEP_INCH", "Gauger"]

BARRELS_PER_INCH = 1.67
GAUGE_STEP_INCH = 0.25
_TAPE_INCH = 0.1  # standard deviation of a tape held crooked
_CHART = 0.012  # of a gas chart, as a share
_MINUTE_US = 60_000_000
_DIALS = (("tubing_pressure", 5.0), ("casing_pressure", 5.0), ("temperature", 1.0))


@dataclass(frozen=True, eq=False)
class Gauger:
    """The rounds made to one well: visit 2n is the morning of the proleptic day n, visit 2n + 1 its evening."""

    field: Field
    well: int

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.field.wells[self.well].timezone)

    @cached_property
    def key(self) -> int:
        """Key of all that is drawn for this well's visits."""
        return noise.key(self.field.seed, self.field.wells[self.well].name, "visits")

    def draw(self, name: str, visit: int) -> float:
        """Return a number in [0, 1) for a visit."""
        return float(noise.uniform(noise.key(self.key, name), visit))

    def gauged_us(self, visit: int) -> int:
        """Return when the tanks are gauged: about 06:00 or 18:00 of the well's zone, by its place on the route."""
        day, evening = divmod(visit, 2)
        local = datetime.combine(date.fromordinal(day), time(18 if evening else 6), self._zone)
        place = round(-20 + 45 * self.draw("place on the route", 0) + 16 * (self.draw("round", visit) - 0.5))
        return to_micros(local) + place * _MINUTE_US

    def visits(self, start_us: int, end_us: int) -> list[int]:
        """Return visits gauged in [start, end)."""
        first = from_micros(start_us).date() - timedelta(days=1)
        last = from_micros(end_us).date() + timedelta(days=1)
        near = range(2 * first.toordinal(), 2 * last.toordinal() + 2)
        return [visit for visit in near if start_us <= self.gauged_us(visit) < end_us]

    def barrels(self, phase: str, opened: int, closed: int) -> float:
        """Return the volume between two visits by the tape."""
        visits = np.array([opened, closed])
        truth = self._produced(phase, visits) / BARRELS_PER_INCH
        tape = truth + _TAPE_INCH * noise.normal(noise.key(self.key, phase, "tape"), visits)
        inches = np.rint(tape / GAUGE_STEP_INCH) * GAUGE_STEP_INCH
        return max(0.0, round(float(inches[1] - inches[0]) * BARRELS_PER_INCH, 2))

    def gas(self, opened: int, closed: int) -> float:
        """Return the gas volume between two visits by the chart, whole mcf."""
        truth = self._produced("gas", np.array([opened, closed]))
        error = 1 + _CHART * float(noise.normal(noise.key(self.key, "chart"), closed))
        return float(max(0, round((truth[1] - truth[0]) * error)))

    def true_volume(self, phase: str, opened: int, closed: int) -> float:
        """Return what the well truly produced between two visits."""
        before, after = self._produced(phase, np.array([opened, closed]))
        return float(after - before)

    def _produced(self, phase: str, visits: NDArray[np.int64]) -> Floats:
        moments = np.array([self.gauged_us(int(visit)) for visit in visits])
        return self.field.behaviours[self.well].state(moments).produced(phase)

    def run_hours(self, opened: int, closed: int) -> float:
        """Return how long the pump ran (or the well flowed), to a quarter of an hour."""
        start, end = self.gauged_us(opened), self.gauged_us(closed)
        state = self.field.behaviours[self.well].state(np.arange(start, end, _MINUTE_US))
        hours = float(np.mean(state.running)) * (end - start) / 3_600_000_000
        return round(4 * hours) / 4

    def dials(self, visit: int) -> dict[str, float]:
        """Return the pressures and the temperature as read off the dials that the well has."""
        moment = np.array([self.gauged_us(visit)])
        state = self.field.behaviours[self.well].state(moment)
        instruments = {item.name: item for item in self.field.instruments[self.well]}
        shown = {}
        for name, step in _DIALS:
            if name in instruments:
                error = 1 + 0.008 * float(noise.normal(noise.key(self.key, name), visit))
                shown[name] = round(float(read(instruments[name].signal, state)[0]) * error / step) * step
        return shown
