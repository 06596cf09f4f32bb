"""Packs a closed hour of a group of tags in Redis, and says how long an hour is kept: the same for whoever does it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from wellos.clock import seconds_until
from wellos.readings import empty
from wellos.storage.hot import hour_key, open_key
from wellos.storage.hot_records import HOUR_US, decode_block, decode_segments, encode_block, keep_best

if TYPE_CHECKING:
    from wellos.clock import Clock
    from wellos.readings import Readings

__all__ = ["SETTLE_US", "pack_hour", "ttl_s"]

SETTLE_US = 120_000_000
"""An hour is packed once this much has passed since: what comes later is packed again."""
_SHORTEST_TTL_S = 60
_LONGEST_TTL_S = 31_536_000
"""Of a clock that hardly moves: Redis deletes a key whose end does not fit into its numbers."""


def ttl_s(clock: Clock, hour: int, hot_hours: int) -> int:
    """Return the seconds until the hour has left the window for an hour, at the pace of the platform's clock."""
    end = (hour + 2 + hot_hours) * HOUR_US
    return min(max(_SHORTEST_TTL_S, round(seconds_until(clock, end))), _LONGEST_TTL_S)


def pack_hour(client: redis.Redis, group: int, hour: int, ttl: int, more: Readings | None = None) -> bool:
    """Pack what came for a closed hour, and `more` readings of the group received before it, into its blocks.

    False when somebody wrote to the hour meanwhile: nothing was changed, try again later. Errors are redis.RedisError.
    """
    open_name, hour_name = open_key(group, hour), hour_key(group, hour)
    with client.pipeline() as pipe:
        try:
            pipe.watch(open_name, hour_name)  # type: ignore[no-untyped-call]
            blocks = _packed(pipe, group, hour, more)
            if blocks:
                pipe.multi()
                pipe.hset(hour_name, items=blocks)
                pipe.expire(hour_name, ttl)
                pipe.delete(open_name)
                pipe.execute()
        except redis.WatchError:
            return False
    return True


def _packed(
    pipe: Any,  # noqa: ANN401 - redis has no public type for it
    group: int,
    hour: int,
    more: Readings | None,
) -> list[str | bytes]:
    raw = pipe.get(open_key(group, hour))
    arrived = decode_segments(group, hour, raw) if raw is not None else empty()
    more = empty() if more is None else more
    tags = np.unique(np.concatenate([more["tag_id"], arrived["tag_id"]])).tolist()
    if not tags:
        return []
    blocks = pipe.hmget(hour_key(group, hour), tags)
    before = [decode_block(tag, hour, block) for tag, block in zip(tags, blocks, strict=True) if block]
    best = keep_best(np.concatenate([more, *before, arrived]))
    found = np.split(best, np.flatnonzero(np.diff(best["tag_id"])) + 1)
    return [item for part in found for item in (str(part["tag_id"][0]), encode_block(hour, part))]
