"""What `wellos health` says: parts, runs, cache, slow queries, unused indexes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.tiers.warm import UnusedIndex

__all__ = ["Cache", "Health", "Part", "Runs", "Slow", "State"]

State = Literal["up", "warning", "down", "unset"]
"""warning: it works, and somebody should look; unset: no setting names it, and nothing of it is running."""

_LOW_RATE = 0.9


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the platform, as it answered just now."""

    name: str
    state: State
    detail: str
    milliseconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Runs:
    """Dagster runs that ended in the last 24 hours."""

    succeeded: int
    failed: int

    @property
    def success_rate(self) -> float | None:
        """Share of them that succeeded; None without any."""
        ended = self.succeeded + self.failed
        return self.succeeded / ended if ended else None


@dataclass(frozen=True, slots=True)
class Cache:
    """Parts of answers that came from the cache, and that did not, since it was last emptied."""

    hits: int
    misses: int

    @property
    def hit_rate(self) -> float | None:
        """Share of hits; None before the first question."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


@dataclass(frozen=True, slots=True)
class Slow:
    """A query that takes long: on average with its calls, or one that is running for so long now."""

    query: str
    calls: int
    mean_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Health:
    """All of it."""

    parts: Sequence[Part]
    runs: Runs | None
    cache: Cache | None
    slow: Sequence[Slow] = ()
    slow_from: str = ""
    """Where slow queries were looked for."""
    unused: Sequence[UnusedIndex] = field(default=())

    @property
    def up(self) -> bool:
        """Whether no part is down."""
        return all(part.state != "down" for part in self.parts)

    @property
    def remarks(self) -> list[str]:
        """What somebody should look at, one sentence each."""
        found = [f"{part.name}: {part.detail}" for part in self.parts if part.state in {"down", "warning"}]
        rate = self.runs.success_rate if self.runs is not None else None
        if self.runs is not None and rate is not None and rate < _LOW_RATE:
            found.append(f"{self.runs.failed} of {self.runs.succeeded + self.runs.failed} runs failed in 24 h")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        return {
            "up": self.up,
            "parts": [asdict(part) for part in self.parts],
            "runs_24h": None if self.runs is None else asdict(self.runs) | {"success_rate": self.runs.success_rate},
            "cache": None if self.cache is None else asdict(self.cache) | {"hit_rate": self.cache.hit_rate},
            "slow_queries": {"from": self.slow_from, "queries": [asdict(one) for one in self.slow]},
            "unused_indexes": [asdict(index) for index in self.unused],
            "remarks": self.remarks,
        }
