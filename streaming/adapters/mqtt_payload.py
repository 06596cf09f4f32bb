"""Plain MQTT payloads (JSON or bare numbers) to rows: pure, raising nothing but PayloadError.

    {"time": "2026-11-01T12:00:00.5Z", "values": {"oil_rate": 210.4, "gas_rate": null}, "quality": {"gas_rate": "BAD"}}

A tag is found by topic and pointer; one message may carry many. Absent tags are no readings, `null` is a reading
without a value. Time and quality are per message, quality also by tag (the last step of its pointer). With
`rows_pointer` a message is an array of readings, each with its name.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from pydantic_core import from_json

from streaming.adapters.mqtt_routes import Routes
from streaming.adapters.mqtt_time import dated, epoch_micros
from streaming.adapters.rows import PayloadError
from wellos.protocols.pointer import parse_pointer
from wellos.quality import SPARKPLUG_BAD, SPARKPLUG_GOOD, SPARKPLUG_STALE, SPARKPLUG_UNCERTAIN
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.adapters.mqtt_routes import Route
    from streaming.adapters.rows import Rows
    from wellos.protocols.mqtt import MqttConfig
    from wellos.registry import Tag

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_ROWS", "PlainDecoder", "parse_json", "quality_code"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_ROWS = 10_000
_MOST_PROBLEMS = 20
_NAMES_REPORTED = 10_000
_ABSENT = object()
_NUMBERS_ONLY = frozenset({float, int, bool})
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


class PlainDecoder:
    """Decodes the messages of one connection."""

    def __init__(self, config: MqttConfig, tenant: str, tags: Sequence[Tag]) -> None:
        """Index the tags by topic; positions are those of `tags`. ConfigurationError for an address that is none."""
        self._routes = Routes(config, tenant, tags)
        self.filters = config.filters(self._routes.addresses)
        self._time, self._quality = parse_pointer(config.time_pointer), parse_pointer(config.quality_pointer)
        self._date = None if config.date_pointer is None else parse_pointer(config.date_pointer)
        self._zone = None if config.timezone is None else ZoneInfo(config.timezone)
        self._rows = None if config.rows_pointer is None else parse_pointer(config.rows_pointer)
        self._row_name, self._row_value = (
            parse_pointer(config.row_name_pointer),
            parse_pointer(config.row_value_pointer),
        )
        self._reported: set[tuple[str, str]] = set()

    def decode(self, topic: str, payload: bytes, received_us: int, rows: Rows, *, retained: bool = False) -> None:
        """Append the readings of one message to `rows`; what is none is rejected there, with the payload whole."""
        try:
            route = self._routes.find(topic)
            document = parse_json(payload)
            if self._rows is not None:
                items = _resolve(document, self._rows)
                error = self._decode_rows(topic, route, document, items, received_us, rows, retained=retained)
            else:
                error = self._decode_object(route, document, received_us, rows, retained=retained)
        except PayloadError as found:
            # Kept beyond this block it would hold the payload in a cycle, until the collector comes by.
            rows.reject(found, topic, payload)
            return
        if error is not None:
            rows.reject(error, topic, payload)

    def _decode_object(
        self, route: Route, document: object, received_us: int, rows: Rows, *, retained: bool
    ) -> PayloadError | None:
        time_us, flags = self._time_of(document, document, received_us, retained=retained)
        quality = _resolve(document, self._quality) if isinstance(document, dict) else _ABSENT
        if route.parent is not None and type(quality) is not dict:
            holder = _resolve(document, route.parent)
            values = _numbers(route, holder) if type(holder) is dict else None
            if values is not None:
                rows.extend(route.positions, time_us, values, quality_code(quality, ""), flags)
                return None
        problems, found = [], 0
        for position, pointer in zip(route.positions, route.pointers, strict=True):
            whole = route.bare and not isinstance(document, dict)
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
        return _malformed(problems)

    def _decode_rows(
        self,
        topic: str,
        route: Route,
        document: object,
        items: object,
        received_us: int,
        rows: Rows,
        *,
        retained: bool,
    ) -> PayloadError | None:
        if not isinstance(items, list):
            raise PayloadError("malformed", "it holds no array of readings")
        if len(items) > MAX_ROWS:
            raise PayloadError("too_large", f"{len(items)} readings, the limit is {MAX_ROWS}")
        problems, unknown = [], 0
        for number, item in enumerate(items):
            name = _resolve(item, self._row_name)
            position = route.of_name.get(name) if isinstance(name, str) else None
            try:
                if not isinstance(name, str):
                    raise PayloadError("malformed", "it has no name")
                if position is None:
                    unknown += self._first(topic, name)
                    continue
                time_us, flags = self._time_of(item, document, received_us, retained=retained)
                quality = _resolve(item, self._quality)
                if quality is _ABSENT:
                    quality = _resolve(document, self._quality)
                value, code = _number(_resolve(item, self._row_value)), quality_code(quality, name)
                rows.add(position, time_us, value, code, flags)
            except PayloadError as error:
                problems.append(f"reading {number}: {error.detail}")
        if unknown and not problems:
            return PayloadError("unknown_tag", f"{unknown} names that no tag has; each is reported once")
        return _malformed(problems)

    def _first(self, topic: str, name: str) -> bool:
        if (topic, name) in self._reported or len(self._reported) >= _NAMES_REPORTED:
            return False
        self._reported.add((topic, name))
        return True

    def _time_of(self, item: object, document: object, received_us: int, *, retained: bool) -> tuple[int, int]:
        """Return the time of a row, else of its message, else of receipt, and the flags."""
        raw = self._raw_time(item)
        if raw is _ABSENT and item is not document:
            raw = self._raw_time(document)
        if raw is _ABSENT:
            if retained:
                raise PayloadError("malformed", "a retained value without a time: nobody knows when it was measured")
            return received_us, int(Flag.ASSUMED_TIME)
        return epoch_micros(raw, self._zone), 0

    def _raw_time(self, item: object) -> object:
        raw = _resolve(item, self._time) if isinstance(item, dict) else _ABSENT
        if raw is None or raw is _ABSENT:
            return _ABSENT
        return raw if self._date is None else dated(_resolve(item, self._date), raw)


def parse_json(payload: bytes) -> Any:  # noqa: ANN401 - JSON has every type
    """Parse a payload within the limits of size and nesting."""
    if len(payload) > MAX_BYTES:
        raise PayloadError("too_large", f"{len(payload)} bytes, the limit is {MAX_BYTES}")
    try:
        document = from_json(payload.removeprefix(b"\xef\xbb\xbf"), cache_strings="keys")
    except ValueError as error:
        raise PayloadError("malformed", f"not JSON: {error}") from error
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


def _numbers(route: Route, holder: dict[str, object]) -> list[float] | None:
    """Return the values of all tags of the route; None where one is absent or no plain number: then one by one."""
    try:
        values = route.take(holder)
        kinds = set(map(type, values))
        return list(map(float, values)) if kinds <= _NUMBERS_ONLY else None  # type: ignore[arg-type]
    except (KeyError, OverflowError):
        return None


def _number(raw: object) -> float:
    if raw is None or (type(raw) is float and math.isinf(raw)):
        return math.nan
    if isinstance(raw, (bool, int, float)):
        try:
            return float(raw)
        except OverflowError as error:
            raise PayloadError("malformed", "a number beyond double precision") from error
    raise PayloadError("malformed", "no value" if raw is _ABSENT else f"not a number but {type(raw).__name__}")


def _malformed(problems: list[str]) -> PayloadError | None:
    if not problems:
        return None
    more = f"; and {len(problems) - _MOST_PROBLEMS} more" if len(problems) > _MOST_PROBLEMS else ""
    return PayloadError("malformed", "; ".join(problem[:200] for problem in problems[:_MOST_PROBLEMS]) + more)


def quality_code(raw: object, name: str) -> int:
    """Return the status code (0, 64, 192, 500) of a quality: a word, a number, true or false, or these by tag."""
    if isinstance(raw, dict):
        raw = raw.get(name, _ABSENT)
    if raw is _ABSENT or raw is None or raw is True:
        return SPARKPLUG_GOOD
    code = None
    if isinstance(raw, str):
        code = _WORDS.get(raw.strip().upper())
    elif isinstance(raw, (int, float)):
        code = SPARKPLUG_BAD if raw is False else _NUMBERS.get(raw)
    if code is None:
        raise PayloadError("malformed", f"unknown quality {raw!r:.40}")
    return int(code)
