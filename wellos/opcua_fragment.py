"""What a walk found as a fleet file: one connection, one well, a tag for each number. Pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import yaml

from wellos.fleet.check import check
from wellos.fleet.units import UNITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from wellos.opcua_browse import Found

__all__ = ["fragment", "tag_names", "unknown_units"]

_MOST_NAME = 200


def fragment(found: Sequence[Found], *, config: Mapping[str, Any], tenant: str, well: str, connection: str) -> str:
    """Return a fleet file that passes `wellos fleet validate`; ConfigurationError where tenant or well would not."""
    tags = [_tag(one, name, well) for one, name in zip(found, tag_names(found), strict=True)]
    document = {
        "version": 1,
        "tenants": [
            {
                "slug": tenant,
                "name": tenant,
                "wells": [{"name": well, "lift_type": "flowing"}],
                "connections": [{"name": connection, "protocol": "opcua", "config": dict(config), "tags": tags}],
            }
        ],
    }
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=10_000)
    check(text.encode(), "the fragment")
    return text


def unknown_units(found: Sequence[Found]) -> list[str]:
    """Return the server's units that no tag may have."""
    return sorted({one.unit for one in found if one.unit is not None and one.unit not in UNITS})


def tag_names(found: Sequence[Found]) -> list[str]:
    """Return a name for each: as much of the end of its path as tells it from the others, else a number behind it."""
    paths = [[_plain(step) for step in one.path] for one in found]
    names = [path[-1] if path else "value" for path in paths]
    for length in range(2, max(map(len, paths), default=0) + 1):
        counts = Counter(names)
        names = [
            ".".join(path[-length:]) if counts[name] > 1 and len(path) >= length else name
            for name, path in zip(names, paths, strict=True)
        ]
    taken: set[str] = set()
    unique = []
    for name in (name[-_MOST_NAME:] for name in names):
        chosen, number = name, 2
        while chosen in taken:
            chosen = f"{name[: _MOST_NAME - 8]}_{number}"
            number += 1
        taken.add(chosen)
        unique.append(chosen)
    return unique


def _plain(step: str) -> str:
    text = "".join(letter if letter.isprintable() else "_" for letter in step).strip()
    return text or "_"


def _tag(one: Found, name: str, well: str) -> dict[str, Any]:
    written: dict[str, Any] = {"name": name, "well": well, "address": str(one.address)}
    if one.unit in UNITS:
        written["unit"] = one.unit
    if one.low is not None and one.high is not None:
        written |= {"low": one.low, "high": one.high}
    return written | {"mode": "rbe", "interval_s": 300.0}
