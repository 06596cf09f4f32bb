"""What every answer says of itself: which tiers served it, how fresh it is, what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import polars as pl

__all__ = ["Part", "Provenance", "Result", "Tier"]

Tier = Literal["hot", "warm", "cold", "overlay"]
"""overlay: what came for a day whose readings are cold already."""


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch of the answer: where it was read."""

    tier: Tier
    relation: str
    """`scada:hour` (Redis), `readings`, an aggregate, or the cold store's name."""
    start: datetime
    end: datetime
    rows: int
    bytes_scanned: int
    cached: bool
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of a whole answer; `parts` are in order of time and have neither gap nor overlap."""

    parts: tuple[Part, ...]
    rows: int
    watermark: datetime | None
    """Everything with an earlier source time that was committed when the query began is in the answer."""
    milliseconds: float

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that answered, each once, hottest last."""
        return tuple(dict.fromkeys(part.tier for part in self.parts))

    @property
    def relation(self) -> str:
        """The relations that answered, comma-separated."""
        return ", ".join(dict.fromkeys(part.relation for part in self.parts))

    @property
    def bytes_scanned(self) -> int:
        """Bytes read in the cold tier; 0 without it."""
        return sum(part.bytes_scanned for part in self.parts)

    @property
    def cache_hit(self) -> bool:
        """Whether every part that may be cached was."""
        return bool(self.parts) and all(part.cached for part in self.parts if part.tier != "hot")


@dataclass(frozen=True, slots=True)
class Result:
    """A frame and its provenance; `frame, provenance = result` unpacks."""

    frame: pl.DataFrame
    provenance: Provenance

    def __iter__(self) -> Iterator[pl.DataFrame | Provenance]:
        """Unpack into (frame, provenance)."""
        return iter((self.frame, self.provenance))
