"""Foresees which readings are stored already, so that a batch goes the cheapest way that holds.

Conflicts come in runs: a source that delivers again after a start or an outage does so for minutes. The guess costs
nothing but time when it is wrong: the table's unique index decides.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import numpy as np

from wellos.storage.merge import Outcome

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wellos.readings import Readings
    from wellos.storage.merge import Judged

__all__ = ["Conflicts", "Way"]

_NEVER = np.iinfo(np.int64).min
_CALM = 8
"""Batches without a conflict after which the next one is taken for new."""
_MOST_TAGS = 1 << 24
"""A tag beyond is always looked up: what is remembered stays below 128 MB whatever the registry numbers."""


class Way(Enum):
    """How a batch goes into the table."""

    COPY = "copy"
    """As it is; one conflict fails all of it."""
    SUSPECTS = "suspects"
    """Looking up only what is no newer than the tag's newest; a conflict of any other fails all of it."""
    ALL = "all"
    """Looking up every reading."""


class Conflicts:
    """The newest source time that went in of each tag, and the way for the next batch."""

    def __init__(self) -> None:
        self._newest = np.zeros(0, np.int64)
        self._calm = 0
        self.way = Way.COPY

    def suspects(self, readings: Readings) -> NDArray[np.bool_]:
        """Return which readings are no newer than what went in of their tag."""
        tags = readings["tag_id"]
        known = (tags >= 0) & (tags < len(self._newest))
        newest = np.full(len(readings), _NEVER)
        newest[known] = self._newest[tags[known]]
        suspects: NDArray[np.bool_] = (readings["time"] <= newest) | (tags >= _MOST_TAGS)
        return suspects

    def learn(self, readings: Readings, judged: Judged | None) -> None:
        """Take note of readings that are committed, and choose the next batch's way; None: they went in by COPY."""
        if judged is not None:
            unforeseen = bool((judged.known & ~self.suspects(readings)).any())
            calm = not (judged.outcome != Outcome.STORED).any()
            self._calm = self._calm + 1 if calm else 0
            self.way = Way.ALL if unforeseen else Way.COPY if self._calm >= _CALM else Way.SUSPECTS
        tags = readings["tag_id"]
        kept = (tags >= 0) & (tags < _MOST_TAGS)
        readings, tags = readings[kept], tags[kept]
        if not len(readings):
            return
        more = int(tags.max()) + 1 - len(self._newest)
        if more > 0:
            self._newest = np.pad(self._newest, (0, more), constant_values=_NEVER)
        np.maximum.at(self._newest, tags, readings["time"])
