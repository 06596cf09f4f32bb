"""The instruments of each lift type, furnished for one well from its seed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

import numpy as np

from wellos.simulator.behaviour import Floats, Flow, WellBehaviour
from wellos.simulator.signals import Fillage, Level, Rate, Running, Signal, Total

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.simulator.model import LiftType

__all__ = ["Instrument", "furnish"]

_WAVES = 12  # three harmonics of slug or pump cycle, one beside it, one and two a day, six slow ones
_DAILY = 4
_NEAR = (0.04, 0.014)  # builds up in an hour, falls in twenty minutes: pressures near the surface
_DEEP = (0.25, 0.06)  # six hours, an hour and a half: the reservoir about the well, and heat in steel
_ALWAYS = (1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a tag's value is made of before faults: the signal, and the instrument's own error."""

    name: str
    unit: str
    quantity: str
    high: float
    signal: Signal
    scan_s: int
    resolution: float
    deadband: float = 0.0
    noise: float = 0.0
    """Standard deviation, in the unit."""
    noise_share: float = 0.0
    """The same as a share of the value."""
    rollover: float | None = None


def furnish(lift: LiftType, seed: int, key: int) -> tuple[WellBehaviour, Iterator[Instrument]]:
    """Return a well's behaviour, and its instruments in order of importance, without end."""
    kit = _Kit(np.random.default_rng([seed, key]))
    return {"rod_pump": kit.rod_pump, "esp": kit.esp, "gas_lift": kit.gas_lift, "flowing": kit.flowing}[lift](key)


class _Kit:
    """Draws one well's figures; the order of draws is part of what a seed means."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def near(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def swing(self, *, fast: float = 0.0, lag: float = 0.0, daily: float = 0.0, slow: float = 0.0) -> Floats:
        """Wave coefficients; `fast`, `daily` and `slow` are amplitudes, `lag` turns the fast cycle by a share."""
        size, angle = np.zeros(_WAVES), self.rng.uniform(0, 2 * np.pi, _WAVES)
        # The harmonics of a slug arrive together: a quick front, a slow tail.
        size[:4] = fast * np.array([0.6, 0.2, 0.08, 0.12])
        angle[:3] = 2 * np.pi * lag * np.array([1, 2, 3])
        size[_DAILY : _DAILY + 2] = daily * np.array([0.9, 0.1])
        angle[_DAILY] = 2 * np.pi * 21 / 24  # warmest at 21 UTC, mid-afternoon in the Permian basin
        size[6:] = slow * np.array([0.08, 0.12, 0.15, 0.2, 0.2, 0.25])
        return np.concatenate([size * np.cos(angle), size * np.sin(angle)])

    def behaviour(
        self,
        key: int,
        cycle_minutes: float,
        rates: tuple[float, float, float],
        swings: tuple[Floats, Floats],
        *,
        speed_spread: float = 0.0,
        duty: float = 1.0,
    ) -> WellBehaviour:
        """Make a well of oil, gas and water `rates`; `swings` are those of its liquids and of its gas."""
        fast = 1440 / cycle_minutes
        slow_days = np.array([0.9 / 24, 2.7 / 24, 7.3 / 24, 19 / 24, 2.9, 8.5]) * self.rng.uniform(0.85, 1.15, 6)
        turns = np.concatenate([[fast, 2 * fast, 3 * fast, 1.13 * fast, 1.0, 2.0], 1 / slow_days])
        decline = self.near(0.0006, 0.0025)
        flows = {
            "oil": Flow(rates[0], decline, swings[0]),
            "gas": Flow(rates[1], 0.9 * decline, swings[1]),
            "water": Flow(rates[2], -0.3 * decline, swings[0]),
        }
        period = self.near(6, 11)
        return WellBehaviour(key, period, 2 * np.pi * turns, speed_spread, flows, duty)

    def meters(self, well: WellBehaviour) -> list[Instrument]:
        """Three meters, each a rate and a totaliser with one factor: the rates first."""
        rates, totals = [], []
        for phase, unit in (("oil", "bbl"), ("gas", "mcf"), ("water", "bbl")):
            flow = well.flows[phase]
            factor = 1 + float(self.rng.normal(0, 0.008))
            high = _round_up(2.5 * flow.rate)
            rollover = float(10.0 ** np.ceil(np.log10(flow.rate * 12)))
            first = self.near(0, rollover)
            step = 1.0 if phase == "gas" else 0.1
            rates.append(
                Instrument(
                    f"{phase}_rate",
                    f"{unit}/d",
                    "rate",
                    high,
                    Rate(phase, factor),
                    5,
                    0.1,
                    0.02 * high,
                    0.0005 * high,
                    0.01,
                )
            )
            totals.append(
                Instrument(
                    f"{phase}_total", unit, "total", rollover, Total(phase, factor, first), 15, step, rollover=rollover
                )
            )
        return rates + totals

    def pressure(
        self, name: str, high: float, flowing: float, shut_in: float, swing: Floats, speed: tuple[float, float] = _NEAR
    ) -> Instrument:
        return Instrument(
            name, "psi", "pressure", high, Level(flowing, shut_in, swing, *speed), 5, 0.1, 0.003 * high, 0.0004 * high
        )

    def temperature(self, name: str, high: float, flowing: float, shut_in: float, swing: Floats) -> Instrument:
        return Instrument(name, "degF", "temperature", high, Level(flowing, shut_in, swing, *_DEEP), 15, 0.1, 0.5, 0.08)

    def site(self) -> list[Instrument]:
        """What every well site has beside its well."""
        line, separator, volts = self.near(55, 75), self.near(30, 45), self.near(12.9, 13.3)
        battery = Level(volts, volts, self.swing(daily=0.5, slow=0.1), *_ALWAYS)
        return [
            self.temperature("temperature", 250, self.near(95, 150), self.near(60, 75), self.swing(daily=5, slow=2)),
            self.pressure("line_pressure", 500, line, line - 4, self.swing(daily=2, slow=4)),
            self.pressure("separator_pressure", 300, separator, separator - 8, self.swing(daily=1, slow=2)),
            Instrument("battery_voltage", "V", "voltage", 32, battery, 15, 0.01, 0.05, 0.01),
        ]

    def auxiliary(self) -> Iterator[Instrument]:
        """Further transmitters about the site, for as many tags as are asked for."""
        for number in count(1):
            pressure = self.near(40, 900)
            swing = self.swing(fast=0.01 * pressure, daily=0.005 * pressure, slow=0.02 * pressure)
            yield self.pressure(f"aux_pressure_{number}", 1500, pressure, 1.3 * pressure, swing)
            warm = self.near(70, 160)
            yield self.temperature(f"aux_temperature_{number}", 350, warm, warm - 8, self.swing(daily=6, slow=2))

    def equip(self, well: WellBehaviour, own: list[Instrument]) -> tuple[WellBehaviour, Iterator[Instrument]]:
        """Order a well's instruments by importance, then the auxiliary ones without end."""
        rates_and_totals = self.meters(well)
        fixed = [*rates_and_totals[:3], *own, *rates_and_totals[3:], *self.site()]

        def instruments() -> Iterator[Instrument]:
            yield from fixed
            yield from self.auxiliary()

        return well, instruments()

    def rod_pump(self, key: int) -> tuple[WellBehaviour, Iterator[Instrument]]:
        duty = self.near(0.6, 0.85) if self.rng.random() < 0.6 else 1.0
        # Only a pump that rests makes its well flow in surges.
        surge = self.swing(fast=0.22 if duty < 1 else 0.05, lag=duty / 2, slow=0.1)
        oil = self.near(18, 90)
        rates = (oil, oil * self.near(0.8, 2.4), oil * self.near(1.2, 4))
        well = self.behaviour(
            key, self.near(26, 44), rates, (surge, self.swing(fast=0.1, lag=duty / 2, slow=0.15)), duty=duty
        )
        spm, amps = self.near(5.5, 9), self.near(24, 46)
        tubing, casing = self.near(150, 260), self.near(45, 95)
        current = Running(amps, self.swing(slow=0.04), 0.16 * amps, spm, 0.8)
        fillage = Fillage(self.near(94, 99), self.near(58, 70), self.swing(slow=5))
        speed = Running(spm, self.swing())
        intake = self.near(90, 220)
        return self.equip(
            well,
            [
                self.pressure("tubing_pressure", 1000, tubing, tubing + 60, self.swing(fast=9, lag=duty / 2, slow=8)),
                self.pressure("casing_pressure", 1000, casing, casing + 190, self.swing(fast=3, slow=6)),
                Instrument("motor_current", "A", "current", 100, current, 1, 0.1, 1.0, 0.15, 0.006),
                Instrument("pump_fillage", "%", "fraction", 100, fillage, 5, 0.1, 2.0, 0.6),
                Instrument("pump_speed", "spm", "speed", 15, speed, 5, 0.01, 0.05, 0.01),
                self.pressure(
                    "intake_pressure", 2000, intake, intake + 700, self.swing(fast=12, lag=0.9, slow=15), _DEEP
                ),
            ],
        )

    def esp(self, key: int) -> tuple[WellBehaviour, Iterator[Instrument]]:
        oil = self.near(220, 620)
        rates = (oil, oil * self.near(0.6, 1.3), oil * self.near(1.5, 3))
        well = self.behaviour(
            key,
            self.near(35, 60),
            rates,
            (self.swing(fast=0.05, slow=0.08), self.swing(fast=0.1, slow=0.1)),
            speed_spread=0.08,
        )
        hertz, amps = self.near(48, 58), self.near(38, 62)
        tubing, casing, intake = self.near(240, 380), self.near(90, 170), self.near(450, 850)
        current = Running(amps, self.swing(fast=0.02, slow=0.03), inrush=1.2, follows_speed=2.0)
        return self.equip(
            well,
            [
                self.pressure("tubing_pressure", 1500, tubing, tubing + 110, self.swing(fast=8, slow=12)),
                self.pressure("casing_pressure", 1500, casing, casing + 120, self.swing(fast=3, slow=8)),
                Instrument("motor_current", "A", "current", 150, current, 1, 0.1, 0.6, 0.12, 0.004),
                Instrument(
                    "drive_frequency",
                    "Hz",
                    "frequency",
                    90,
                    Running(hertz, self.swing(), follows_speed=1.0),
                    5,
                    0.01,
                    0.05,
                    0.005,
                ),
                self.pressure("intake_pressure", 5000, intake, intake + 1150, self.swing(fast=10, slow=25), _DEEP),
                self.temperature(
                    "motor_temperature", 500, self.near(225, 275), self.near(165, 185), self.swing(slow=4)
                ),
                Instrument(
                    "vibration",
                    "g",
                    "vibration",
                    10,
                    Running(self.near(0.2, 0.6), self.swing(fast=0.1, slow=0.2)),
                    5,
                    0.01,
                    0.05,
                    0.02,
                ),
            ],
        )

    def gas_lift(self, key: int) -> tuple[WellBehaviour, Iterator[Instrument]]:
        oil, heading = self.near(120, 320), self.near(0.25, 0.42)
        rates = (oil, oil * self.near(3, 5), oil * self.near(1, 2.5))
        well = self.behaviour(
            key,
            self.near(95, 190),
            rates,
            (self.swing(fast=heading, lag=0.1, slow=0.08), self.swing(fast=1.1 * heading, lag=0.03, slow=0.08)),
        )
        tubing, casing, injected = self.near(190, 290), self.near(860, 1080), self.near(380, 700)
        return self.equip(
            well,
            [
                self.pressure(
                    "tubing_pressure", 2000, tubing, tubing + 330, self.swing(fast=0.14 * tubing, lag=0.08, slow=8)
                ),
                self.pressure("casing_pressure", 2000, casing, casing - 60, self.swing(fast=42, lag=0.62, slow=10)),
                Instrument(
                    "injection_rate",
                    "mcf/d",
                    "rate",
                    _round_up(2 * injected),
                    Running(injected, self.swing(fast=0.06, lag=0.1, slow=0.05)),
                    5,
                    0.1,
                    8.0,
                    1.0,
                    0.008,
                ),
                self.pressure(
                    "injection_pressure", 2000, casing + 70, casing + 90, self.swing(fast=16, lag=0.6, slow=10)
                ),
            ],
        )

    def flowing(self, key: int) -> tuple[WellBehaviour, Iterator[Instrument]]:
        oil, slug = self.near(130, 420), self.near(0.15, 0.38)
        rates = (oil, oil * self.near(1.5, 4), oil * self.near(0.2, 0.8))
        well = self.behaviour(
            key,
            self.near(18, 48),
            rates,
            (self.swing(fast=slug, lag=0.2, slow=0.08), self.swing(fast=0.8 * slug, lag=0.65, slow=0.08)),
        )
        tubing, choke = self.near(520, 1200), self.near(28, 62)
        over, opening = self.near(160, 420), self.swing()
        return self.equip(
            well,
            [
                self.pressure(
                    "tubing_pressure", 3000, tubing, tubing + 480, self.swing(fast=0.07 * tubing, lag=0.25, slow=14)
                ),
                self.pressure(
                    "casing_pressure", 3000, tubing + over, tubing + over + 360, self.swing(fast=10, slow=12)
                ),
                Instrument("choke_position", "%", "fraction", 100, Running(choke, opening), 5, 0.1, 0.5, 0.05),
                self.pressure(
                    "bottomhole_pressure",
                    8000,
                    self.near(2300, 3100),
                    self.near(3500, 4100),
                    self.swing(fast=35, lag=0.35, slow=25),
                    _DEEP,
                ),
            ],
        )


def _round_up(value: float) -> float:
    step = float(10.0 ** np.floor(np.log10(value)))
    return float(np.ceil(value / step) * step)
