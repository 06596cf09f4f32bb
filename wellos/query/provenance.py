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
    """One stretch of the answer, [start, end): where it was read."""

    tier: Tier
    relation: str
    """`scada:hour` (Redis), `readings`, an aggregate, or the cold store's name."""
    start: datetime
    end: datetime
    rows: int
    """Rows read of this stretch: before rolling up, and before qualities that were not asked for are left out."""
    bytes_scanned: int = 0
    cached: bool = False
    cacheable: bool = False
    """Of closed days that are watched: the cache may hold it. What is still being written never is."""
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Provenance:
    """Of a whole answer; `parts` are in order of time, without gap or overlap.

    An overlay part lies over the cold part before it: it says how many late readings were merged into that stretch.
    """

    parts: tuple[Part, ...]
    rows: int
    watermark: datetime
    """Everything with an earlier source time that was committed when the query began is in the answer."""
    milliseconds: float

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers that answered, each once, in order of time: the hottest last."""
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
        """Whether all that may be cached was, and there was any."""
        may = [part for part in self.parts if part.cacheable]
        return bool(may) and all(part.cached for part in may)


@dataclass(frozen=True, slots=True)
class Result:
    """A frame and its provenance; `frame, provenance = result` unpacks."""

    frame: pl.DataFrame
    provenance: Provenance
    next: str | None = None
    """Cursor of the page after this one; None: there is none, or no `limit` was given."""

    def __iter__(self) -> Iterator[pl.DataFrame | Provenance]:
        """Unpack into (frame, provenance)."""
        return iter((self.frame, self.provenance))
