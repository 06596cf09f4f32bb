"""MQTT topics: filters with wildcards, and templates whose named captures say which tag a message is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["CAPTURES", "TopicTemplate", "check_filter", "covers", "parse_template"]

CAPTURES = ("tenant", "well", "tag")
"""What a level of a topic may name."""
MAX_TOPIC_BYTES = 65_535

_CAPTURE = re.compile(r"\{([^{}]*)\}")


def check_filter(text: str) -> str:
    """Return a topic filter as it is; ValueError says what is wrong with it."""
    levels = text.split("/")
    if not text or "\0" in text or len(text.encode()) > MAX_TOPIC_BYTES:
        raise ValueError("is not a topic filter | E.g. wells/+/readings or wells/#")
    if any(("#" in level or "+" in level) and len(level) > 1 for level in levels) or "#" in levels[:-1]:
        raise ValueError("has a wildcard out of place | + takes a whole level, # the last one")
    return text


def covers(name: str, topic: str) -> bool:
    """Whether a subscription to the filter `name` delivers `topic`, itself a topic or a narrower filter."""
    wanted, given = name.split("/"), topic.split("/")
    if given[0].startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(given) or given[place] == "#" or (level != "+" and level != given[place]):
            return False
    return len(wanted) == len(given)


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """`{tenant}/{well}/{tag}`: a capture stands for all or part of one level, + and # are wildcards as in a filter."""

    text: str
    filter: str
    """The topic filter that delivers what the template may match."""
    captures: frozenset[str]
    pattern: re.Pattern[str] = field(repr=False, compare=False)

    @property
    def openness(self) -> tuple[int, ...]:
        """How much each level leaves open: of templates that fit a topic, the least of these is meant."""
        return tuple(_openness(level) for level in self.text.split("/"))

    def match(self, topic: str) -> dict[str, str] | None:
        """Return what was captured, by name; None for a topic that is not of this form."""
        found = self.pattern.fullmatch(topic)
        return None if found is None else found.groupdict()


def parse_template(text: str) -> TopicTemplate:
    """Parse a template; ValueError says what is wrong with it, and what to write."""
    names = _CAPTURE.findall(text)
    unknown = [name for name in names if name not in CAPTURES]
    if unknown:
        raise ValueError(f"captures {{{unknown[0]}}}, which is no such thing | Known: {{tenant}}, {{well}}, {{tag}}")
    if len(set(names)) != len(names):
        raise ValueError("captures the same thing twice | Put + for the other level")
    if "well" not in names:
        raise ValueError("does not capture the well | E.g. {tenant}/{well}/{tag} or field/{well}/data")
    levels = text.split("/")
    if any(len(_CAPTURE.findall(level)) > 1 for level in levels):
        raise ValueError("captures two things in one level | Nobody could tell where one ends: use a / between them")
    if any(letter in _CAPTURE.sub("", text) for letter in "{}"):
        raise ValueError("has a brace without its other | E.g. {tenant}/{well}/{tag}")
    name = check_filter("/".join("+" if _CAPTURE.search(level) else level for level in levels))
    return TopicTemplate(text, name, frozenset(names), re.compile(_pattern(levels), re.DOTALL))


def _openness(level: str) -> int:
    if level in ("+", "#"):
        return 3 + (level == "#")
    found = _CAPTURE.search(level)
    return 0 if found is None else 1 + (found[0] == level)


def _pattern(levels: list[str]) -> str:
    parts = [_level(level) for level in levels if level != "#"]
    # The levels of # may also be none at all: a/# delivers a.
    return "/".join(parts) + (r"(?:/.*)?" if levels[-1] == "#" else "")


def _level(level: str) -> str:
    if level == "+":
        return "[^/]*"
    found = _CAPTURE.search(level)
    if found is None:
        return re.escape(level)
    return f"{re.escape(level[: found.start()])}(?P<{found[1]}>[^/]+){re.escape(level[found.end() :])}"
