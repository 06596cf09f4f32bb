"""The platform's clock: wall time is read here and nowhere else.

One setting, `WELLOS_CLOCK`, is shared by the simulator, ingest, the Dagster code and the alerts:

* `wall`: the machine's clock, in UTC;
* `START@ANCHOR*SPEED`, e.g. `2026-11-01T00:00:00Z@2026-11-21T08:00:00Z*60`: the platform's time was START when the
  machine's was ANCHOR and runs SPEED times as fast, until it has caught up with the machine's; from then on it is the
  machine's. It never runs ahead of it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from wellos.errors import ConfigurationError, Problem

__all__ = ["Clock", "ScaledClock", "WallClock", "from_micros", "pace", "parse_clock", "seconds_until", "to_micros"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CAUGHT_UP_US = 1_000_000


def to_micros(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970-01-01 UTC, exactly."""
    return _EPOCH + timedelta(microseconds=micros)


class Clock(Protocol):
    """What every component is given instead of the machine's clock."""

    def micros(self) -> int:
        """Platform time, microseconds since 1970-01-01 UTC."""
        ...

    def now(self) -> datetime:
        """Platform time as an aware UTC datetime."""
        ...

    def monotonic(self) -> float:
        """Seconds that never step back: for time-outs and durations, always at the machine's pace."""
        ...


class WallClock:
    """The machine's clock."""

    def micros(self) -> int:
        """Platform time, microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    def now(self) -> datetime:
        """Platform time as an aware UTC datetime."""
        return from_micros(self.micros())

    def monotonic(self) -> float:
        """Seconds that never step back."""
        return time.monotonic()


@dataclass(frozen=True, slots=True)
class ScaledClock:
    """Platform time that starts in the past and runs `speed` times as fast until it meets the machine's."""

    start_us: int
    anchor_us: int
    speed: float

    def micros(self) -> int:
        """Platform time, microseconds since 1970-01-01 UTC."""
        wall = time.time_ns() // 1000
        return min(wall, self.start_us + int((wall - self.anchor_us) * self.speed))

    def now(self) -> datetime:
        """Platform time as an aware UTC datetime."""
        return from_micros(self.micros())

    def monotonic(self) -> float:
        """Seconds that never step back, at the machine's pace."""
        return time.monotonic()

    def __str__(self) -> str:
        """Return the setting that makes this clock."""
        start, anchor = from_micros(self.start_us), from_micros(self.anchor_us)
        return f"{start:%Y-%m-%dT%H:%M:%S.%fZ}@{anchor:%Y-%m-%dT%H:%M:%S.%fZ}*{self.speed:g}"


def parse_clock(text: str) -> Clock:
    """Make the clock that the setting `WELLOS_CLOCK` names; ConfigurationError says what is wrong with it."""
    if text == "wall":
        return WallClock()
    start, at, rest = text.partition("@")
    anchor, star, speed = rest.partition("*")
    try:
        if not (at and star):
            raise ValueError("expected START@ANCHOR*SPEED")
        moments = [datetime.fromisoformat(part) for part in (start, anchor)]
        if any(moment.tzinfo is None for moment in moments):
            raise ValueError("both times need a zone, such as a trailing Z")
        factor = float(speed)
        if not 0 < factor < float("inf"):
            raise ValueError("the speed must be above 0")
        if moments[0] > moments[1]:
            raise ValueError("START must not be after ANCHOR: platform time never runs ahead of the machine's")
    except ValueError as error:
        remedy = "Use 'wall' or START@ANCHOR*SPEED, e.g. 2026-11-01T00:00:00Z@2026-11-21T08:00:00Z*60"
        raise ConfigurationError([Problem(str(error), remedy, field="WELLOS_CLOCK", value=text)]) from error
    return ScaledClock(to_micros(moments[0]), to_micros(moments[1]), factor)


def pace(clock: Clock) -> float:
    """Platform seconds in one of the machine's, at least 1: what parts that live by the machine's clock allow for."""
    behind_us = WallClock().micros() - clock.micros()
    return max(1.0, clock.speed) if isinstance(clock, ScaledClock) and behind_us > _CAUGHT_UP_US else 1.0


def seconds_until(clock: Clock, moment_us: int) -> float:
    """Seconds of the machine's time until platform time is `moment_us`; negative when it has been."""
    wall_us, then_us = WallClock().micros(), moment_us
    if isinstance(clock, ScaledClock):  # it stands behind the machine's, so it comes to a moment no earlier than that
        then_us = max(moment_us, clock.anchor_us + int((moment_us - clock.start_us) / clock.speed))
    return (then_us - wall_us) / 1e6
