"""What went by in an export: the third sum that has to agree, and the span of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wellos.clock import from_micros
from wellos.storage.cold import Checksum
from wellos.storage.cold.checksum import checksum

if TYPE_CHECKING:
    from datetime import datetime

    from wellos.readings import Readings

__all__ = ["Tally"]


@dataclass(slots=True)
class Tally:
    """What went by in an export."""

    checksum: Checksum = field(default_factory=Checksum)
    first_us: int | None = None
    last_us: int | None = None

    def add(self, piece: Readings) -> None:
        """Count a piece."""
        self.checksum += checksum(piece)
        first, last = int(piece["time"].min()), int(piece["time"].max())
        self.first_us = first if self.first_us is None else min(self.first_us, first)
        self.last_us = last if self.last_us is None else max(self.last_us, last)

    @property
    def first(self) -> datetime | None:
        """Source time of the oldest reading."""
        return None if self.first_us is None else from_micros(self.first_us)

    @property
    def last(self) -> datetime | None:
        """Source time of the newest reading."""
        return None if self.last_us is None else from_micros(self.last_us)
