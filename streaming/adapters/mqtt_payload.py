"""Plain MQTT payloads (JSON objects or bare numbers) to rows: pure, raising nothing but PayloadError.

    {"time": "2026-11-01T12:00:00.5Z", "values": {"oil_rate": 210.4, "gas_rate": null}, "quality": {"gas_rate": "BAD"}}

A tag is found by topic and JSON pointer; one message may carry many. Absent tags are no readings, `null` is a reading
without a value. Time and quality are per message, quality also by tag (the last step of its pointer).
"""

from __future__ import annotations

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

from streaming.adapters.rows import MAX_MICROS, PayloadError, Rows
from wellos.clock import to_micros
from wellos.protocols.mqtt import parse_pointer
from wellos.quality import SPARKPLUG_BAD, SPARKPLUG_GOOD, SPARKPLUG_STALE, SPARKPLUG_UNCERTAIN
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.protocols.mqtt import MqttAddress

__all__ = ["MAX_BYTES", "MAX_DEPTH", "PlainDecoder", "epoch_micros", "quality_code"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_ABSENT = object()
_WORDS = {
    "GOOD": SPARKPLUG_GOOD,
    "BAD": SPARKPLUG_BAD,
    "UNCERTAIN": SPARKPLUG_UNCERTAIN,
    "STALE": SPARKPLUG_STALE,
}
# Our own numbering (0, 1, 2) beside that of Sparkplug B and OPC DA.
_NUMBERS: dict[float, int] = {
    0: SPARKPLUG_BAD,
    1: SPARKPLUG_UNCERTAIN,
    2: SPARKPLUG_GOOD,
    64: SPARKPLUG_UNCERTAIN,
    192: SPARKPLUG_GOOD,
    500: SPARKPLUG_STALE,
}
# Epoch numbers by magnitude: up to here seconds, milliseconds, microseconds; beyond, nanoseconds.
_SECONDS, _MILLIS, _MICROS = 10**11, 10**14, 10**17


class PlainDecoder:
    """Decodes the messages of one connection."""

    def __init__(self, addresses: Sequence[MqttAddress], time_pointer: str, quality_pointer: str) -> None:
        """Index the addresses by topic; positions are those of `addresses`."""
        self._time, self._quality = parse_pointer(time_pointer), parse_pointer(quality_pointer)
        self._index: dict[str, list[tuple[int, tuple[str, ...], bool]]] = {}
        for position, address in enumerate(addresses):
            entry = (position, address.pointer, address.implicit)
            self._index.setdefault(address.topic, []).append(entry)

    def decode(self, topic: str, payload: bytes, received_us: int, rows: Rows, *, retained: bool = False) -> None:
        """Append the readings of one message to `rows`; what is none is rejected there, with the payload whole."""
        try:
            entries = self._index.get(topic)
            if entries is None:
                raise PayloadError("unknown_tag", "no tag of this connection reads this topic")
            document = parse_json(payload)
            time_us, flags = self._time_of(document, received_us, retained=retained)
            quality = _resolve(document, self._quality) if isinstance(document, dict) else _ABSENT
        except PayloadError as error:
            rows.reject(error, topic, payload)
            return
        problems = []
        found = 0
        for position, pointer, implicit in entries:
            whole = implicit and not isinstance(document, dict)
            raw = document if whole else _resolve(document, pointer)
            if raw is _ABSENT:
                continue
            found += 1
            try:
                value, code = _number(raw), quality_code(quality, pointer[-1] if pointer else "")
            except PayloadError as error:
                problems.append(f"{'/'.join(pointer) or 'payload'}: {error.detail}")
                continue
            rows.add(position, time_us, value, code, flags)
        if not found:
            problems.append("it holds none of the tags that read this topic")
        if problems:
            rows.reject(PayloadError("malformed", "; ".join(problems)), topic, payload)

    def _time_of(self, document: object, received_us: int, *, retained: bool) -> tuple[int, int]:
        raw = _resolve(document, self._time) if isinstance(document, dict) else _ABSENT
        if raw is _ABSENT or raw is None:
            if retained:
                raise PayloadError("malformed", "a retained value without a time: nobody knows when it was measured")
            return received_us, int(Flag.ASSUMED_TIME)
        return epoch_micros(raw), 0


def parse_json(payload: bytes) -> Any:  # noqa: ANN401 - JSON has every type
    """Parse a payload within the limits of size and nesting; NaN and Infinity stand for no value."""
    if len(payload) > MAX_BYTES:
        raise PayloadError("too_large", f"{len(payload)} bytes, the limit is {MAX_BYTES}")
    try:
        document = json.loads(payload, parse_constant=lambda _: math.nan)
    except (ValueError, RecursionError) as error:
        raise PayloadError("malformed", f"not JSON: {str(error) or type(error).__name__}") from error
    if payload.count(b"{") + payload.count(b"[") > MAX_DEPTH:
        _check_depth(document)
    return document


def _check_depth(document: object) -> None:
    level = [document]
    for _ in range(MAX_DEPTH + 1):
        level = [
            child
            for node in level
            if isinstance(node, (dict, list))
            for child in (node.values() if isinstance(node, dict) else node)
        ]
        if not level:
            return
    raise PayloadError("malformed", f"nested deeper than {MAX_DEPTH}")


def _resolve(document: object, pointer: tuple[str, ...]) -> Any:  # noqa: ANN401 - JSON has every type
    node = document
    for step in pointer:
        if isinstance(node, dict):
            node = node.get(step, _ABSENT)
        elif isinstance(node, list) and step.isascii() and step.isdigit() and len(step) < 10 and int(step) < len(node):  # noqa: PLR2004 - digits
            node = node[int(step)]
        else:
            return _ABSENT
    return node


def _number(raw: object) -> float:
    if raw is None:
        return math.nan
    if isinstance(raw, (bool, int, float)):
        try:
            return float(raw)
        except OverflowError as error:
            raise PayloadError("malformed", "a number beyond double precision") from error
    raise PayloadError("malformed", f"not a number but {type(raw).__name__}")


def epoch_micros(raw: object) -> int:
    """Microseconds since 1970 UTC of an RFC 3339 text, or of a number of s, ms, us or ns told apart by magnitude."""
    if isinstance(raw, str):
        micros = _text_micros(raw)
    elif isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise PayloadError("malformed", f"time is neither text nor number but {type(raw).__name__}")
    elif isinstance(raw, float) and not math.isfinite(raw):
        raise PayloadError("malformed", "time is not finite")
    elif raw < _SECONDS:
        micros = round(raw * 1_000_000)
    elif raw < _MILLIS:
        micros = round(raw * 1000)
    else:
        micros = round(raw) if raw < _MICROS else int(raw) // 1000
    if not 0 <= micros <= MAX_MICROS:
        raise PayloadError("malformed", f"time {raw!r:.40} is not between the years 1970 and 9999")
    return micros


def _text_micros(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text.upper())
        if moment.tzinfo is None:
            raise PayloadError("malformed", f"time {text!r:.40} has no zone")
        return to_micros(moment)
    except PayloadError:
        raise
    except (ValueError, OverflowError) as error:
        raise PayloadError("malformed", f"time {text!r:.40} is not RFC 3339") from error


def quality_code(raw: object, name: str) -> int:
    """Return the status code (0, 64, 192, 500) of a quality: a word, a number, or an object of these by tag."""
    if isinstance(raw, dict):
        raw = raw.get(name, _ABSENT)
    if raw is _ABSENT or raw is None:
        return SPARKPLUG_GOOD
    code = None
    if isinstance(raw, str):
        code = _WORDS.get(raw.strip().upper())
    elif isinstance(raw, (int, float)) and not isinstance(raw, bool):
        code = _NUMBERS.get(raw)
    if code is None:
        raise PayloadError("malformed", f"unknown quality {raw!r:.40}")
    return int(code)
