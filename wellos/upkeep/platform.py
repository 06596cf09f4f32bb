"""Removes what the platform itself no longer needs: notes of changes that every copy has seen, caches, old buckets.

Stored spool segments are ingest's to remove. Here they are only counted where nobody does, as no ingest runs there.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from wellos.clock import WallClock
from wellos.spool_format import list_segments, read_cursor
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    import redis

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = [
    "CACHE_KEYS",
    "CacheCleaned",
    "Segments",
    "clean_aggregates",
    "clean_cache",
    "clean_changes",
    "stale_segments",
]

CACHE_KEYS = "wellos:cache:*"
_CACHE_STATISTICS = b"wellos:cache:stats"
_KEEP_CHANGES = timedelta(days=7)
_STALE_FACTOR = 2
_SHORTEST_S = 86_400.0
_NO_END, _A_CALL = -1, 500


@dataclass(frozen=True, slots=True)
class CacheCleaned:
    """Keys of the query cache."""

    keys: int
    """That are there: they go by themselves."""
    removed: int
    """That would have stayed for ever."""


@dataclass(frozen=True, slots=True)
class Segments:
    """Stored segments of the spool that are older than ingest keeps them."""

    count: int = 0
    bytes: int = 0
    names: list[str] = field(default_factory=list)


def clean_changes(conn: PgConnection, settings: Settings) -> int:
    """Remove notes of changes that every proven copy of their day has seen; return how many.

    What is younger than a week, or than a result may stay in the cache twice over, is left.
    """
    cached = timedelta(seconds=_STALE_FACTOR * max(settings.cache_s, settings.cache_manual_s))
    before = WallClock().now() - max(_KEEP_CHANGES, cached)  # they are dated by the database's clock
    return conn.execute(query("clean_reading_changes"), {"before": before}).rowcount


def clean_aggregates(conn: PgConnection, settings: Settings, now: datetime) -> Mapping[str, int]:
    """Remove buckets older than `aggregate_days` by the platform's clock; return how many of each aggregate."""
    wanted = {"days": settings.aggregate_days, "now": now}
    return {relation: int(buckets) for relation, buckets in conn.execute(query("clean_aggregates"), wanted)}


def clean_cache(client: redis.Redis) -> CacheCleaned:
    """Count the keys of the query cache, and remove those without an end."""
    found = [key for key in client.scan_iter(match=CACHE_KEYS, count=1000) if key != _CACHE_STATISTICS]
    endless = []
    for at in range(0, len(found), _A_CALL):
        part = found[at : at + _A_CALL]
        pipe = client.pipeline(transaction=False)
        for key in part:
            pipe.ttl(key)
        endless += [key for key, left in zip(part, pipe.execute(), strict=True) if left == _NO_END]
    if endless:
        client.unlink(*endless)
    return CacheCleaned(len(found) - len(endless), len(endless))


def stale_segments(spool: Path, settings: Settings) -> Segments:
    """Return the stored segments of a spool folder that ingest should have removed by now; removes nothing."""
    if not spool.is_dir():
        return Segments()
    stored = read_cursor(spool)[1]
    files = list_segments(spool)
    oldest = WallClock().now().timestamp() - max(_SHORTEST_S, _STALE_FACTOR * settings.spool_keep_s)
    names, size = [], 0
    for this, following in pairwise(files):
        with suppress(FileNotFoundError):  # ingest has just removed it
            status = this.path.stat()
            if following.first_seq <= stored + 1 and status.st_mtime < oldest:
                names.append(this.path.name)
                size += status.st_size
    return Segments(len(names), size, names)
