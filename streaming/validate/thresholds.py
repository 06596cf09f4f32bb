"""What people tune of the checks, and the table of checks that find episodes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streaming.delivery import Severity
    from wellos.settings import Settings

__all__ = ["CHECKS", "MINUTE_US", "Rule", "Thresholds"]

SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
_HOUR_US = 60 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Limits of the checks that are a matter of judgement; each has a setting of its name."""

    future_tolerance_s: float = 60.0
    duplicate_window_s: float = 60.0
    late_after_s: float = 600.0
    roc_span_pct: float = 20.0
    """Largest change of a pressure in a minute, percent of the instrument's span."""
    roc_temperature_f: float = 10.0
    """Largest change of a temperature in a minute, degrees Fahrenheit."""
    stuck_after_s: float = 1800.0
    """A polled tag is stuck after this long without a change, and 30 polls."""
    z_limit: float = 4.0
    """Standard deviations from the last 24 h that are unusual."""
    skew_warn_s: float = 60.0
    """Median of received minus source time from which a connection's clock is wrong; ERROR at five times as much."""

    @classmethod
    def of(cls, settings: Settings) -> Thresholds:
        """Return what the settings say."""
        return cls(**{item.name: getattr(settings, item.name) for item in fields(cls)})


@dataclass(frozen=True, slots=True)
class Rule:
    """How findings of one check become episodes."""

    name: str
    severity: Severity
    by_receipt: bool = False
    """Its times are those of receipt, not of the source."""
    close_us: int = 15 * MINUTE_US
    """Without a finding for this long the episode has ended, with its last finding; 0: the check itself ends it."""
    quiet_us: int = 0
    """After an episode, no new one for this long, unless the score is `_GROWS` times the last one's worst."""
    width_us: int = 0
    """How long one finding lasts."""


CHECKS = (
    Rule("sentinel", "ERROR"),
    Rule("not_finite", "ERROR"),
    Rule("physical", "ERROR"),
    Rule("range", "ERROR"),
    Rule("spike", "ERROR"),
    Rule("rate_of_change", "WARN"),
    Rule("z_score", "WARN", quiet_us=6 * _HOUR_US, width_us=MINUTE_US),
    Rule("stuck", "WARN", close_us=0),
    Rule("future", "ERROR", by_receipt=True),
    Rule("late", "WARN", by_receipt=True),
)
"""Findings per tag; the position is the check's row in the state. `clock_skew` and `duplicates` are per connection."""
