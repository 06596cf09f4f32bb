"""Source times as devices write them, to microseconds since 1970 UTC: pure, raising nothing but PayloadError."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import TYPE_CHECKING

from streaming.adapters.rows import MAX_MICROS, PayloadError
from wellos.clock import to_micros

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

__all__ = ["dated", "epoch_micros"]

# Epoch numbers by magnitude: up to here seconds, milliseconds, microseconds; beyond, nanoseconds.
_SECONDS, _MILLIS, _MICROS, _BEYOND = 10**11, 10**14, 10**17, 10**22
# As text only what cannot be a date written without dashes: 20261101, 20261101120000.
_NUMERIC = re.compile(r"(\d{9,13}|\d{15,19})(\.\d{1,9})?")
_DATE_ALONE = len("2026-11-01")


def epoch_micros(raw: object, zone: ZoneInfo | None = None) -> int:
    """Microseconds since 1970 UTC of an RFC 3339 text, or of a number of s, ms, us or ns told apart by magnitude.

    `zone` is that of texts without one; without it they are refused, as is an hour that the zone's clocks repeat.
    """
    if isinstance(raw, str):
        numeric = _NUMERIC.fullmatch(raw.strip())
        if numeric is None:
            micros = _text_micros(raw, zone)
        else:
            micros = _number_micros(float(numeric[0]) if numeric[2] else int(numeric[1]))
    elif isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise PayloadError("malformed", f"time is neither text nor number but {type(raw).__name__}")
    else:
        micros = _number_micros(raw)
    if not 0 <= micros <= MAX_MICROS:
        raise PayloadError("malformed", f"time {raw!r:.40} is not between the years 1970 and 9999")
    return micros


def dated(date: object, time: object) -> str:
    """Return a date and a time of day as one text."""
    if not isinstance(date, str) or not isinstance(time, str):
        raise PayloadError("malformed", "date and time of day are not both text")
    return f"{date.strip()}T{time.strip()}"


def _number_micros(raw: float) -> int:
    # An integer beyond doubles is not finite to math, and no time either.
    if raw > _BEYOND:
        return MAX_MICROS + 1
    if not math.isfinite(raw):
        raise PayloadError("malformed", "time is not finite")
    if raw < _SECONDS:
        return round(raw * 1_000_000)
    if raw < _MILLIS:
        return round(raw * 1000)
    return round(raw) if raw < _MICROS else int(raw) // 1000


def _text_micros(text: str, zone: ZoneInfo | None) -> int:
    try:
        moment = datetime.fromisoformat(text.strip().upper())
    except ValueError as error:
        raise PayloadError("malformed", f"time {text!r:.40} is not RFC 3339") from error
    if len(text) <= _DATE_ALONE:
        raise PayloadError("malformed", f"time {text!r:.40} is a date alone")
    if moment.tzinfo is None:
        moment = _in_zone(moment, text, zone)
    try:
        return to_micros(moment)
    except OverflowError as error:
        raise PayloadError("malformed", f"time {text!r:.40} is not between the years 1970 and 9999") from error


def _in_zone(moment: datetime, text: str, zone: ZoneInfo | None) -> datetime:
    if zone is None:
        raise PayloadError("malformed", f"time {text!r:.40} has no zone")
    local = moment.replace(tzinfo=zone)
    try:
        sure = local.utcoffset() == local.replace(fold=1).utcoffset()
    except OverflowError as error:
        raise PayloadError("malformed", f"time {text!r:.40} is not between the years 1970 and 9999") from error
    if not sure:
        raise PayloadError("malformed", f"time {text!r:.40} has no zone, and {zone.key} has that hour twice or never")
    return local
