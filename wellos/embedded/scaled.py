"""Which clock a start of the platform runs on, so that platform time never runs backwards from start to start."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from wellos.clock import ScaledClock, WallClock, from_micros, parse_clock, to_micros
from wellos.errors import ConfigurationError, Problem
from wellos.files import replace_file

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.clock import Clock

__all__ = ["ClockFile"]

_RUN = timedelta(hours=12)
"""A scaled clock starts far enough in the past to stay scaled this long..."""
_LONGEST = timedelta(days=90)
"""...but no further back than raw readings are kept."""
_LEAST_US = 60_000_000
"""A scaled clock that begins later than this before the present would have caught up at once."""
_MARGIN_US = 5_000_000
"""More machine time than can pass between two notes of the clock."""


class ClockFile:
    """`clock.json` in the data folder: the clock of the last start, and when it was last seen running."""

    def __init__(self, folder: Path, machine: Clock | None = None) -> None:
        """Nothing is read yet; `machine` is the machine's own clock."""
        self._path = folder / "clock.json"
        self._machine = machine or WallClock()

    def choose(self, given: str, speed: float | None, start: datetime | None = None) -> str:
        """Return the setting `WELLOS_CLOCK` of this start.

        `given` is the setting as the user has it, `speed` the wish for a faster clock, `start` where a replay begins.
        A scaled clock goes on where it stopped. ConfigurationError when the wish would turn time back.
        """
        if given != "wall" and speed is not None:
            problem = Problem("--speed and WELLOS_CLOCK both choose the clock", "Use one of them.", field="--speed")
            raise ConfigurationError([problem])
        reached = self._reached()
        if given == "wall" and speed is None and start is None:
            return "wall"
        now = self._machine.micros()
        if given != "wall":
            chosen = parse_clock(given)
            if reached is not None and _at(chosen, now) < reached:
                raise ConfigurationError([self._backwards(reached, "WELLOS_CLOCK")])
            return given
        speed = 1.0 if speed is None else speed
        if reached is None:
            span = min(_RUN * max(speed - 1, 0), _LONGEST)
            begin = to_micros(start) if start is not None else now - to_micros(datetime(1970, 1, 1, tzinfo=UTC) + span)
        else:
            begin = reached
        if speed != 1 and begin > now - _LEAST_US:
            raise ConfigurationError([self._backwards(begin, "--speed")])
        return str(ScaledClock(min(begin, now), now, speed))

    def note(self, clock: str) -> None:
        """Write down the clock, and that it runs now. Called every second while the platform is up."""
        replace_file(self._path, json.dumps({"clock": clock, "seen_us": self._machine.micros()}) + "\n")

    def _reached(self) -> int | None:
        """Return the platform time that the last start may have shown at most; None when there was none."""
        if not self._path.exists():
            return None
        noted = json.loads(self._path.read_text())
        return _at(parse_clock(noted["clock"]), min(self._machine.micros(), int(noted["seen_us"]) + _MARGIN_US))

    def _backwards(self, reached: int, field: str) -> Problem:
        moment = f"{from_micros(reached):%Y-%m-%d %H:%M} UTC"
        return Problem(
            f"platform time would run backwards: this data folder has reached {moment}",
            "Use a data folder of its own, with WELLOS_DATA_DIR.",
            field=field,
        )


def _at(clock: Clock, machine_us: int) -> int:
    """Return what a clock shows when the machine's shows `machine_us`."""
    if isinstance(clock, ScaledClock):
        return min(machine_us, clock.start_us + int((machine_us - clock.anchor_us) * clock.speed))
    return machine_us
