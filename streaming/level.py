"""How full the spool is, how long that lasts, and the alarm when it gets near its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from streaming.counters import Counters
    from streaming.spool import Journal
    from wellos.clock import Clock

__all__ = ["ALARM_AT", "SpoolLevel"]

ALARM_AT, _OVER_AT = 0.8, 0.7
"""Shares of what the quota, or the disk where it is nearer, leaves for readings that are not stored."""

log = structlog.get_logger(__name__)


class SpoolLevel:
    """Measured now and then; what it says is as of the last time."""

    def __init__(self, journal: Journal, counters: Counters, clock: Clock) -> None:
        """Begin to measure rates from now on."""
        self._journal, self._counters, self._clock = journal, counters, clock
        self._last = (clock.monotonic(), counters.terms["spooled"], journal.appended_bytes)
        self.readings_per_s = 0.0
        self.seconds_left: float | None = None
        """Until nothing more fits if nothing is stored meanwhile; None while nothing comes in."""
        self.share = 0.0
        """Of the room for readings that are not stored, what is used: 0 to 1."""
        self.alarm = False

    @property
    def warning(self) -> str:
        """What a person should know; empty when there is no alarm."""
        if not self.alarm:
            return ""
        left = "" if self.seconds_left is None else f", {self.seconds_left:.0f} s are left at the present rate"
        return f"the spool is {self.share:.0%} full{left}"

    def measure(self) -> None:
        """Measure since the last time, and raise or end the alarm."""
        journal = self._journal
        now, rows, size = self._clock.monotonic(), self._counters.terms["spooled"], journal.appended_bytes
        then, rows_then, size_then = self._last
        self._last = (now, rows, size)
        seconds = max(now - then, 1e-3)
        self.readings_per_s = (rows - rows_then) / seconds
        used, free = journal.used_bytes, journal.free_bytes
        self.share = used / (used + free) if used + free else 1.0
        self.seconds_left = free * seconds / (size - size_then) if size > size_then else None
        alarm = self.share >= (_OVER_AT if self.alarm else ALARM_AT)
        if alarm != self.alarm:
            self.alarm = alarm
            if alarm:
                log.error("the spool fills up", used_bytes=used, free_bytes=free, seconds_left=self.seconds_left)
            else:
                log.info("the spool has room again", used_bytes=used, free_bytes=free)
