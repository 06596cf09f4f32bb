"""A clock for tests that stands until it is moved: time passes where the test says so, however busy the machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wellos.clock import from_micros

if TYPE_CHECKING:
    from datetime import datetime

__all__ = ["HeldClock"]

_NOON_US = 1_793_534_400_000_000
"""2026-11-01T12:00:00Z: a due time of every interval that divides half a day."""


class HeldClock:
    """A platform clock that begins at noon, and whose pace is the test's."""

    def __init__(self) -> None:
        """Stand at noon."""
        self._us = _NOON_US

    def advance(self, seconds: float) -> None:
        """Let time pass at once."""
        self._us += round(seconds * 1e6)

    def micros(self) -> int:
        """Platform time, microseconds since 1970-01-01 UTC."""
        return self._us

    def now(self) -> datetime:
        """Platform time as an aware UTC datetime."""
        return from_micros(self._us)

    def monotonic(self) -> float:
        """Seconds that pass with the clock."""
        return self._us / 1e6
