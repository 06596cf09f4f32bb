"""Reads YAML into plain values that remember their lines: duplicate keys, size and nesting are refused here.

Values follow the core schema of YAML 1.2: `null`, `true`, `false` and numbers; every other unquoted text is a text, so
that `NO`, `on`, `1:30` and `2026-11-01` mean what they say. Built on the parser's events: composing PyYAML's own nodes
takes ten times as long (25,000 tags: 3 s).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import yaml
from yaml import events as ev

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Items", "Table", "line_of", "read"]

MAX_BYTES = 64 << 20
MAX_DEPTH = 20
MAX_VALUES = 5_000_000

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SPECIAL = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}
_MAX_DIGITS = 400


class Table(dict[str, Any]):
    """A YAML mapping: its own line, and the line of each key."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


class Items(list[Any]):
    """A YAML sequence: its own line, and the line of each item."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: list[int] = []


def line_of(root: object, path: Sequence[str | int]) -> int:
    """Return the line of what lies at `path`, or of the nearest thing around it that is written down."""
    here: Any = root
    line: int = getattr(root, "line", 1)
    for part in path:
        try:
            line, here = here.lines[part], here[part]
        except (AttributeError, LookupError, TypeError):
            break
    return line


def read(content: bytes, file: str) -> tuple[Any, list[Problem]]:
    """Return the document's value and the duplicate keys in it; ConfigurationError for what cannot be read on."""
    if len(content) > MAX_BYTES:
        raise _stop(f"is larger than {MAX_BYTES >> 20} MiB", "Split it by tenant", file, None)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _stop("is not UTF-8", "Save the file as UTF-8", file, line) from error
    builder = _Builder(file)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"is not valid YAML: {error.problem or error.context}"
        remedy = f"Look at column {mark.column + 1}, and at the line above" if mark else "Correct it"
        # Duplicate keys before the syntax error are told too: every mistake that can be seen.
        stopped = _stop(message, remedy, file, mark.line + 1 if mark else None)
        raise ConfigurationError([*builder.problems, *stopped.problems]) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _stop(f"is not valid YAML: {error.reason}", "Remove the character", file, line) from error
    if builder.documents != 1:
        raise _stop(f"holds {builder.documents} YAML documents", "Write one document", file, 1)
    return builder.root, builder.problems


def _stop(message: str, remedy: str, file: str, line: int | None) -> ConfigurationError:
    return ConfigurationError([Problem(message, remedy, file=file, line=line)])


def _line(event: ev.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Builder:
    """Builds values from events. `sizes` counts what an alias stands for, so that nested aliases cannot explode."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.root: Any = None
        self.documents = 0
        self.problems: list[Problem] = []
        self._stack: list[tuple[Table | Items, str | None, int]] = []
        self._keys: list[tuple[str, int] | None] = []
        self._anchors: dict[str, tuple[Any, int]] = {}
        self._values = 0

    def take(self, event: ev.Event) -> None:
        if isinstance(event, ev.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, ev.MappingStartEvent | ev.SequenceStartEvent):
            self._open(event)
        elif isinstance(event, ev.MappingEndEvent | ev.SequenceEndEvent):
            self._close()
        elif isinstance(event, ev.AliasEvent):
            self._alias(event)
        elif isinstance(event, ev.DocumentStartEvent):
            self.documents += 1

    def _scalar(self, event: ev.ScalarEvent) -> None:
        line = _line(event)
        if self._wants_key():
            self._keys[-1] = (event.value, line)
            return
        if _UNSTORABLE.search(event.value):
            raise _stop("holds a character that is none (NUL or half a pair)", "Remove it", self.file, line)
        plain = event.implicit[0]
        if event.tag not in (None, "!", "tag:yaml.org,2002:str"):
            raise _stop(f"has the YAML tag {event.tag}, which is not supported", "Remove the tag", self.file, line)
        value = _resolve(event.value) if plain and event.tag is None else event.value
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, 1)
        self._add(value, line, 1)

    def _open(self, event: ev.MappingStartEvent | ev.SequenceStartEvent) -> None:
        line = _line(event)
        if self._wants_key():
            raise _stop("has a key that is not a plain text", "Write key: value", self.file, line)
        if len(self._stack) >= MAX_DEPTH:
            raise _stop(f"is nested more than {MAX_DEPTH} deep", "See docs/fleet.md for the layout", self.file, line)
        container: Table | Items = Table(line) if isinstance(event, ev.MappingStartEvent) else Items(line)
        self._add(container, line, 1)
        self._stack.append((container, event.anchor, self._values))
        self._keys.append(None)

    def _close(self) -> None:
        container, anchor, before = self._stack.pop()
        self._keys.pop()
        if anchor is not None:
            self._anchors[anchor] = (container, self._values - before + 1)

    def _alias(self, event: ev.AliasEvent) -> None:
        line = _line(event)
        if self._wants_key() or event.anchor not in self._anchors:
            raise _stop(f"uses *{event.anchor}, which names nothing before it", "Write the value out", self.file, line)
        value, size = self._anchors[event.anchor]
        self._add(value, line, size)

    def _wants_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1][0], Table) and self._keys[-1] is None

    def _add(self, value: Any, line: int, size: int) -> None:  # noqa: ANN401 - a YAML value is any of six types
        self._values += size
        if self._values > MAX_VALUES:
            raise _stop(f"holds more than {MAX_VALUES:,} values", "Split it by tenant", self.file, line)
        if not self._stack:
            self.root = value
            return
        container, key = self._stack[-1][0], self._keys[-1]
        if isinstance(container, Items):
            container.append(value)
            container.lines.append(line)
            return
        assert key is not None  # noqa: S101 - a value of a mapping follows its key
        self._keys[-1] = None
        name, at = key
        if name in container:
            message = f"the key is given twice, first on line {container.lines[name]}"
            self.problems.append(Problem(message, "Keep one of them.", file=self.file, line=at, field=name))
            return
        container[name] = value
        container.lines[name] = at


@lru_cache(maxsize=1 << 16)
def _resolve(text: str) -> Any:  # noqa: ANN401 - a YAML value is any of six types
    if text in _SPECIAL:
        return _SPECIAL[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
