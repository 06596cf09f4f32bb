"""The Redis sink: latest, last hours and messages of a batch, in commands by group of tags, not by tag or reading.

Nothing waits for it and nothing durable depends on it: what Redis did not take is in PostgreSQL. An older reading never
replaces a newer latest one; which is newer is known here, as a tag's connection is read by one ingest at a time. Other
ingests may write other tags of a group: slots are written by range, and an hour is packed only if nobody touched it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from streaming.sinks.hot_latest import Latest
from wellos.storage import hot
from wellos.storage.hot_pack import SETTLE_US, pack_hour, ttl_s
from wellos.storage.hot_records import encode_segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.settings import Settings

__all__ = ["HotSink"]

_MESSAGE_ROWS = 20_000
"""A slow subscriber is cut off when too much waits for it: half a megabyte a message."""
_KEYS_A_CALL = 1000


class HotSink:
    """One client of Redis. `pack` and `append` may be called beside `write`; errors are redis.RedisError."""

    def __init__(self, settings: Settings, clock: Clock, instance: str) -> None:
        """No I/O: the first write connects. `instance` names this ingest, the same after a restart."""
        self._settings, self._clock = settings, clock
        self._window_us = settings.hot_hours * hot.HOUR_US
        self._filled_key = hot.filled_key(instance)
        self._publisher, self._sequences = random.getrandbits(64), dict[str, int]()
        self._client: redis.Redis | None = None
        self._wanted: dict[str, Any] = {}
        self._latest: dict[str, Latest] = {}
        self._filled = False
        self.filled_at = 0
        """The last mark seen: when PostgreSQL was read whole, see `wellos.storage.hot.filled_key`."""
        self._dirty = True
        """Redis may not have what is remembered here: after a start, a change of tags, and every error."""
        self._open: set[tuple[int, int]] = set()
        """Group and hour of keys that may have to be packed."""
        self._timed: set[tuple[int, int]] = set()
        """Those of them that have got their time to live."""
        self._unlisted = True
        """Redis may hold open hours that are not in `_open`: those of the process before this one."""

    def configure(self, tags: Mapping[str, Iterable[int]]) -> None:
        """Take the tags of each tenant, by slug; they count from the next write on."""
        wanted = {tenant: np.array(sorted(ids), np.int64) for tenant, ids in tags.items()}
        before = self._wanted
        self._wanted = {
            tenant: before[tenant] if tenant in before and np.array_equal(before[tenant], ids) else ids
            for tenant, ids in wanted.items()
        }

    def write(self, tenant: str, readings: Readings, *, complete: bool = True) -> bool:
        """Write one batch of a tenant and publish it; false when Redis lacks hours that it should have.

        Not `complete`: something before it was missed. The mark goes first, so that no reader takes Redis for whole.
        """
        self._take_tags()
        ordered = readings[np.argsort(readings["tag_id"], kind="stable")]
        latest = self._latest.get(tenant)
        try:
            client = self._connected()
        finally:  # remembered also when Redis is away; it is told of them once it is back
            changed = latest.take(ordered) if latest is not None else []
        pipe = client.pipeline(transaction=False)
        if complete:
            pipe.get(self._filled_key)
        else:
            pipe.getdel(self._filled_key)
        for group, offset, slots in changed:
            pipe.setrange(hot.latest_key(tenant, group), offset, slots)
        appended = self._append(pipe, ordered, self._timed)
        for at in range(0, len(readings), _MESSAGE_ROWS):
            self._sequences[tenant] = sequence = self._sequences.get(tenant, 0) + 1
            message = hot.encode_message(self._publisher, sequence, readings[at : at + _MESSAGE_ROWS])
            pipe.publish(hot.channel(tenant), message)
        try:
            mark = pipe.execute()[0]
        except redis.RedisError:
            self._dirty = True
            raise
        if mark is not None:
            self.filled_at = int(mark)
        filled = complete and mark is not None
        self._open |= appended
        self._timed |= appended
        self._dirty = self._filled and not filled  # emptied behind our back
        self._filled = filled
        return filled

    def mark(self, *, filled: bool, at: int = 0) -> None:
        """Note in Redis that it has all it should, and what others had committed by `at`; or that it has not."""
        client = self._made()
        if filled:
            client.set(self._filled_key, at)
        else:
            client.delete(self._filled_key)

    def append(self, readings: Readings) -> None:
        """Add readings to their hours only: what Redis missed, brought back from PostgreSQL."""
        pipe = self._made().pipeline(transaction=False)
        appended = self._append(pipe, readings[np.argsort(readings["tag_id"], kind="stable")], set())
        pipe.execute()
        self._open |= appended

    def closed(self) -> list[tuple[int, int]]:
        """Return the (group, hour) that are to be packed now; forget those that have left the window."""
        if self._unlisted:
            self._list_open()
        now = self._clock.micros()
        first, last = (now - self._window_us) // hot.HOUR_US, (now - SETTLE_US) // hot.HOUR_US
        known = sorted(self._open.copy())
        self._open.difference_update(item for item in known if item[1] < first)
        self._timed.difference_update([item for item in self._timed.copy() if item[1] < first])
        return [item for item in known if first <= item[1] < last]

    def pack(self, group: int, hour: int) -> bool:
        """Pack a closed hour with what came late; false when somebody wrote to it meanwhile: once more, later."""
        self._open.discard((group, hour))
        try:
            packed = pack_hour(self._made(), group, hour, self._ttl(hour))
        except redis.RedisError:
            self._open.add((group, hour))
            raise
        if not packed:
            self._open.add((group, hour))
        return packed

    def close(self) -> None:
        """Close the connections; the next write opens others."""
        if self._client is not None:
            self._client.close()
            self._client, self._dirty = None, True

    def _take_tags(self) -> None:
        wanted, known = self._wanted, self._latest
        if wanted.keys() == known.keys() and all(known[name].tags is tags for name, tags in wanted.items()):
            return
        self._latest = {name: known[name].with_tags(t) if name in known else Latest(t) for name, t in wanted.items()}
        self._dirty = self._unlisted = True

    def _made(self) -> redis.Redis:
        client = self._client
        if client is None:
            client = self._client = hot.connect(self._settings)
        return client

    def _connected(self) -> redis.Redis:
        client = self._made()
        if self._dirty:
            self._timed.clear()
            for tenant, latest in self._latest.items():
                latest.learn(hot.latest(client, tenant, latest.tags.tolist()))
                pipe = client.pipeline(transaction=False)
                for group, offset, slots in latest.known():
                    pipe.setrange(hot.latest_key(tenant, group), offset, slots)
                pipe.execute()
            self._dirty = False
        return client

    def _append(
        self,
        pipe: Any,  # noqa: ANN401 - redis has no public type for it
        ordered: Readings,
        timed: set[tuple[int, int]],
    ) -> set[tuple[int, int]]:
        """Queue the readings, sorted by tag, for their hours; return the (group, hour) of them."""
        now = self._clock.micros()
        oldest = (now // hot.HOUR_US) * hot.HOUR_US - self._window_us
        closed = (now - SETTLE_US) // hot.HOUR_US  # such a key is made anew after each packing
        kept = ordered["time"] >= oldest
        found = set()
        for group, hour, segment in encode_segments(ordered if kept.all() else ordered[kept]):
            key = hot.open_key(group, hour)
            pipe.append(key, segment)
            if hour < closed or (group, hour) not in timed:
                pipe.expire(key, self._ttl(hour))
            found.add((group, hour))
        return found

    def _ttl(self, hour: int) -> int:
        return ttl_s(self._clock, hour, self._settings.hot_hours)

    def _list_open(self) -> None:
        groups = sorted(
            {int(group) for latest in self._latest.values() for group in np.unique(latest.tags // hot.GROUP)}
        )
        hour = self._clock.micros() // hot.HOUR_US
        names = [(g, h) for g in groups for h in range(hour - self._settings.hot_hours, hour + 1)]
        client = self._made()
        for at in range(0, len(names), _KEYS_A_CALL):
            part = names[at : at + _KEYS_A_CALL]
            pipe = client.pipeline(transaction=False)
            for group, hour in part:
                pipe.exists(hot.open_key(group, hour))
            self._open.update(name for name, there in zip(part, pipe.execute(), strict=True) if there)
        self._unlisted = False
