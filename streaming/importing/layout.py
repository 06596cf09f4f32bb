"""Which column of a file is what, and which tag of the registry each name in it means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wellos.errors import ConfigurationError, Problem
from wellos.units import conversion
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from streaming.importing.mapping import Mapping
    from wellos.registry import Connection

__all__ = ["Layout", "Names", "Target", "lay_out", "names_of"]

_TIME = ("time", "timestamp", "datetime", "date_time")
_VALUE = ("value",)
_QUALITY = ("quality",)
_WELL = ("well", "well_name")
_TAG = ("tag", "tag_name")
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Target:
    """A tag, and what makes its unit of the file's."""

    tag_id: int
    connection_id: int
    scale: float = 1.0
    offset: float = 0.0


@dataclass(slots=True)
class Names:
    """Finds the tag that a name in the file means; remembers names that mean none."""

    known: dict[str, Target]
    """WELL.TAG of the registry."""
    mapped: dict[str, Target]
    unknown: dict[str, None] = field(default_factory=dict)

    def find(self, key: str, tag: str) -> Target | None:
        """Return the target of a row's WELL.TAG, or of its tag alone where the mapping has that."""
        found = self.mapped.get(key) or self.mapped.get(tag) or self.known.get(key)
        if found is None:
            self.unknown[key] = None
        return found

    def problems(self, file: str) -> list[Problem]:
        """One problem for each unknown name, the nearest known one beside it."""
        known = [*self.mapped, *self.known]
        shown = list(self.unknown)[:_MOST_SHOWN]
        problems = [
            Problem(
                "is no tag in use of this tenant",
                f"{did_you_mean(name, known)} Or map it under tags.",
                file,
                value=name,
            )
            for name in shown
        ]
        more = len(self.unknown) - len(shown)
        if more:
            problems.append(Problem(f"and {more} more names are unknown", "See the mapping.", file))
        return problems


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns that matter."""

    time: str
    value: str | None
    """None: a column a tag, those of `wide`."""
    quality: str | None
    well: str | None
    tag: str | None
    one_well: str | None
    wide: tuple[str, ...] = ()


def lay_out(columns: Sequence[str], mapping: Mapping, well: str | None, path: Path) -> Layout:
    """Find the columns; ConfigurationError names each that is missing, and what there is."""
    problems: list[Problem] = []

    def column(wanted: str | None, usual: Iterable[str], what: str, *, needed: bool) -> str | None:
        if wanted is not None:
            if wanted not in columns:
                problems.append(
                    Problem(f"no such column for {what}", did_you_mean(wanted, columns), str(path), value=wanted)
                )
            return wanted
        by_name = {name.strip().casefold(): name for name in reversed(columns)}
        for name in usual:
            if name in by_name:
                return by_name[name]
        if needed:
            problems.append(Problem(f"no column for {what}", f"{_named(columns)} Name it in the mapping.", str(path)))
        return None

    time = column(mapping.time.column, _TIME, "the time", needed=True)
    long = mapping.layout == "long" or mapping.value.column is not None
    value = None if mapping.layout == "wide" else column(mapping.value.column, _VALUE, "the value", needed=long)
    one_well = well or mapping.well
    wells = None if one_well else column(mapping.well_column, _WELL, "the well", needed=False)
    if value is None:
        wide = tuple(name for name in columns if name not in {time, wells})
        layout = Layout(time or "", None, None, wells, None, one_well, wide)
    else:
        tag = column(mapping.tag_column, _TAG, "the tag", needed=True)
        quality = column(mapping.quality.column, _QUALITY, "the quality", needed=False)
        layout = Layout(time or "", value, quality, wells, tag, one_well)
    if problems:
        raise ConfigurationError(problems)
    return layout


def _named(columns: Sequence[str]) -> str:
    return f"The file has {', '.join(columns[:_MOST_SHOWN])}."


def names_of(connections: Sequence[Connection], mapping: Mapping, well: str | None, source: str) -> Names:
    """Return what names mean: the registry's and the mapping's; ConfigurationError for a mapping to nothing."""
    tags = {f"{tag.well}.{tag.name}": (tag, item) for item in connections for tag in item.tags}
    known = {name: Target(tag.tag_id, item.connection_id) for name, (tag, item) in tags.items()}
    mapped, problems = {}, []
    for name, meant in mapping.tags.items():
        key = f"{meant.well or well or mapping.well or ''}.{meant.tag}"
        place = f"tags.{name}"
        if key not in tags:
            problems.append(
                Problem("is no tag in use of this tenant", did_you_mean(key, known), source, field=place, value=key)
            )
            continue
        tag, item = tags[key]
        scale, offset = 1.0, 0.0
        if meant.unit is not None and meant.unit != tag.unit:
            try:
                if tag.unit is None:
                    raise ValueError("the tag has no unit | Leave the unit out")
                scale, offset = conversion(meant.unit, tag.unit)
            except ValueError as error:
                message, _, remedy = str(error).partition(" | ")
                problems.append(Problem(message, remedy, source, field=f"{place}.unit", value=meant.unit))
                continue
        mapped[name] = Target(tag.tag_id, item.connection_id, scale, offset)
    if problems:
        raise ConfigurationError(problems)
    return Names(known, mapped)
