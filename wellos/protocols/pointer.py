"""Where a value stands in a JSON document: a JSON pointer (RFC 6901), or the plain form of a JSONPath."""

from __future__ import annotations

import re

__all__ = ["parse_pointer", "written_pointer"]

_BAD_ESCAPE = re.compile(r"~(?![01])")
_JSONPATH_STEP = re.compile(r"\.([^.\[\]'\"*]+)|\[(\d{1,9})\]|\['([^'\]]+)'\]|\[\"([^\"\]]+)\"\]")


def parse_pointer(text: str) -> tuple[str, ...]:
    """Return the steps of `/a/b/0`, or of `$.a.b[0]`; the empty text is the whole document. ValueError if it is none.

    Of JSONPath (RFC 9535) only names and indices: what may select many values is no address of one.
    """
    if text.startswith("$"):
        return _jsonpath(text)
    if text and not text.startswith("/"):
        raise ValueError(f"must begin with / | Write /{text}")
    if _BAD_ESCAPE.search(text):
        raise ValueError("has a ~ that is not ~0 (for ~) or ~1 (for /) | See RFC 6901")
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in text.split("/")[1:])


def written_pointer(steps: tuple[str, ...]) -> str:
    """Return the steps as a JSON pointer."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in steps)


def _jsonpath(text: str) -> tuple[str, ...]:
    steps, place = [], 1
    while place < len(text):
        found = _JSONPATH_STEP.match(text, place)
        if found is None:
            raise ValueError("is a JSONPath of more than names and indices | Write $.name.list[0] or /name/list/0")
        steps.append(next(step for step in found.groups() if step is not None))
        place = found.end()
    return tuple(steps)
