"""The latest reading of each tag of a tenant, and where its slot lies in Redis: pure, no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from wellos.readings import READING, empty
from wellos.storage.hot_records import GROUP

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wellos.readings import Readings

__all__ = ["Latest"]

_NEVER = np.iinfo(np.int64).min


class Latest:
    """Slots by tag. Runs of neighbouring tags of one group are written together, others' tags never."""

    def __init__(self, tags: NDArray[np.int64]) -> None:
        """Start with no reading; `tags` is sorted."""
        self.tags = tags
        size = int(tags[-1]) + 1 if len(tags) else 0
        self._slots = empty(size)
        self._newest = np.full(size, _NEVER)
        self._run = np.full(size, -1)
        breaks = (np.diff(tags) != 1) | (np.diff(tags // GROUP) != 0)
        runs = np.concatenate(([0], np.cumsum(breaks))) if len(tags) else np.zeros(0, np.int64)
        self._run[tags] = runs
        self._first = tags[np.flatnonzero(np.diff(runs, prepend=-1))]
        self._end = tags[np.flatnonzero(np.diff(runs, append=-1))] + 1

    def with_tags(self, tags: NDArray[np.int64]) -> Latest:
        """Return the same for other tags, with what is known of those that stay."""
        made = Latest(tags)
        shared = np.intersect1d(tags, self.tags)
        made._slots[shared] = self._slots[shared]
        made._newest[shared] = self._newest[shared]
        return made

    def take(self, ordered: Readings) -> list[tuple[int, int, bytes]]:
        """Take over what is newest in a batch sorted by tag; return (group, offset, slots) of the runs that changed.

        Of two readings of one time the later in the batch counts.
        """
        tags, times = ordered["tag_id"], ordered["time"]
        last = np.ones(len(ordered), np.bool_)
        last[:-1] = tags[1:] != tags[:-1]
        if not (last[:-1] | (times[1:] >= times[:-1])).all():
            ordered = ordered[np.lexsort((times, tags))]
        return self._write(self._keep(ordered[last]))

    def learn(self, found: Readings) -> None:
        """Take over what Redis has that is newer."""
        self._keep(found, newer_only=True)

    def known(self) -> list[tuple[int, int, bytes]]:
        """Return (group, offset, slots) of all runs with a reading."""
        return self._write(self.tags[self._newest[self.tags] != _NEVER])

    def _keep(self, one_a_tag: Readings, *, newer_only: bool = False) -> NDArray[np.int64]:
        tags = one_a_tag["tag_id"].astype(np.int64)
        kept = (tags >= 0) & (tags < len(self._run))
        kept[kept] = self._run[tags[kept]] >= 0
        kept[kept] = one_a_tag["time"][kept] >= self._newest[tags[kept]] + int(newer_only)
        newest, tags = one_a_tag[kept], tags[kept]
        self._slots[tags] = newest
        self._newest[tags] = newest["time"]
        return tags

    def _write(self, tags: NDArray[Any]) -> list[tuple[int, int, bytes]]:
        runs = np.unique(self._run[tags])
        firsts, ends, size = self._first[runs].tolist(), self._end[runs].tolist(), READING.itemsize
        return [
            (first // GROUP, first % GROUP * size, self._slots[first:end].tobytes())
            for first, end in zip(firsts, ends, strict=True)
        ]
