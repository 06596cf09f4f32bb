"""State as arrays indexed by tag_id: grown, reset for a tag, copied out and taken back, all by one declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bools", "Columns", "Floats", "Ints", "Rows", "first_of", "rank_in", "shifted"]

Bools: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = NDArray[np.intp]


class Columns:
    """Arrays of one length, one row a tag. A subclass names them in SPEC and annotates them."""

    SPEC: ClassVar[dict[str, tuple[str, int]]]
    """Name -> dtype and width (0: one value a tag). All begin at zero: pages that are never written cost no memory."""

    def __init__(self) -> None:
        """Start without rows."""
        self.rows = 0
        for name, (dtype, width) in self.SPEC.items():
            setattr(self, name, np.zeros(_shape(0, width), dtype))

    def grow(self, rows: int) -> None:
        """Make room for `rows` tags; what is there stays."""
        if rows <= self.rows:
            return
        for name, (dtype, width) in self.SPEC.items():
            new = np.zeros(_shape(rows, width), dtype)
            new[: self.rows] = getattr(self, name)
            setattr(self, name, new)
        self.rows = rows

    def reset(self, tags: Rows) -> None:
        """Forget these tags."""
        for name in self.SPEC:
            getattr(self, name)[tags] = 0

    def take(self, tags: Rows) -> dict[str, NDArray[np.generic]]:
        """Return a copy of these tags' rows, by name."""
        return {name: getattr(self, name)[tags] for name in self.SPEC}

    def put(self, tags: Rows, saved: Mapping[str, NDArray[np.generic]], at: Rows) -> None:
        """Set these tags' rows to the rows `at` of what `take` gave."""
        for name in self.SPEC:
            getattr(self, name)[tags] = saved[name][at]


def _shape(rows: int, width: int) -> tuple[int, ...]:
    return (rows, width) if width else (rows,)


def first_of(tag: Rows) -> Bools:
    """Mask the first row of each tag; rows are sorted by tag."""
    first: Bools = np.ones(len(tag), np.bool_)
    np.not_equal(tag[1:], tag[:-1], out=first[1:])
    return first


def rank_in(tag: Rows) -> Ints:
    """Return each row's number among its tag's, from 0; rows are sorted by tag."""
    starts = np.flatnonzero(first_of(tag))
    rank: Ints = np.arange(len(tag)) - np.repeat(starts, np.diff(np.append(starts, len(tag))))
    return rank


def shifted(values: NDArray[Any], first: Bools, before: NDArray[Any]) -> NDArray[Any]:
    """Return each row's predecessor within its tag; of a tag's first row, `before`."""
    moved = before.copy()
    within = np.flatnonzero(~first)
    moved[within] = values[within - 1]
    return moved
