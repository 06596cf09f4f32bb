"""Plays recordings, well by well, at a given speed, and as fast as their readers take it, but never faster."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import numpy as np
import structlog

from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.simulator.replay import Reader

__all__ = ["Pace", "Sender", "play"]

_log = structlog.get_logger(__name__)
_ROWS_AT_ONCE = 100
_LONGEST_STEP_US = 10_000_000
"""A longer silence in a recording, or between two, is not waited for."""


class Sender(Protocol):
    """One way to send the readings of one well."""

    async def permit(self, row: int) -> int:
        """Wait until somebody reads; return the row to go on with: `row`, or an earlier one."""
        ...

    async def send(self, readings: Readings, row: int) -> None:
        """Send readings, of rows from `row` on, and wait as far as the protocol can."""
        ...

    async def finished(self) -> int | None:
        """Wait until everything sent is acknowledged; None, or the row to go back to."""
        ...


class Pace:
    """When a row is due: recorded time at `speed` times its pace, long silences left out, never past the clock."""

    def __init__(self, speed: float, clock: Clock) -> None:
        """Time begins with the first chunk."""
        self._speed, self._clock = speed, clock
        self._due: float | None = None
        self._last_us: int | None = None
        self.rows = max(1, min(_ROWS_AT_ONCE, int(speed / 2)))
        """Rows to send at once: half a second's worth."""

    async def wait(self, readings: Readings) -> None:
        """Wait until readings are due."""
        if not len(readings):
            return
        times = readings["time"]
        before = int(times[0]) if self._last_us is None else self._last_us
        self._last_us = int(times[-1])
        steps = np.clip(np.diff(times, prepend=before), 0, _LONGEST_STEP_US)
        now = self._clock.monotonic()
        # Behind its time, a replay does not hurry to catch up with what it never showed.
        self._due = max(now - 1, self._due or now) + float(steps.sum()) / 1e6 / self._speed
        if self._due > now:
            await asyncio.sleep(self._due - now)
        newest = int(times.max())
        await until(lambda: newest <= self._clock.micros())


async def play(reader: Reader, sender: Sender, pace: Pace) -> None:
    """Send every row of a well, in order; return when its reader has all."""
    row = 0
    while True:
        while row < reader.well.rows:
            row = await sender.permit(row)
            readings, rows = reader.rows(row, pace.rows)
            await pace.wait(readings)
            await sender.send(readings, row)
            row += rows
            reader.played = max(reader.played, row)
        back = await sender.finished()
        if back is None:
            _log.info("well played", well=reader.well.name, rows=reader.well.rows)
            return
        row = back
