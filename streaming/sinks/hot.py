"""The Redis sink: latest, last hours and one message a batch, in a few commands however many tags there are.

Nothing waits for it and nothing durable depends on it: what Redis did not take is in PostgreSQL. An older reading never
replaces a newer latest one; which is newer is known here, as a tag's connection is read by one ingest at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from wellos.readings import READING, Readings, empty
from wellos.storage import hot

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from wellos.clock import Clock
    from wellos.settings import Settings

__all__ = ["HotSink"]

_NEVER = np.iinfo(np.int64).min
_KEYS_A_CALL = 500  # Redis serves nobody else during a script: half a millisecond each

# One call appends to many keys. A key that was not there gets its time to live.
_APPEND = """
for i, key in ipairs(KEYS) do
    if redis.call('APPEND', key, ARGV[i + 1]) == #ARGV[i + 1] then redis.call('EXPIRE', key, ARGV[1]) end
end
"""


class HotSink:
    """One connection to Redis. All methods are called from one thread at a time; errors are redis.RedisError."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """No I/O: the first write connects."""
        self._settings, self._clock = settings, clock
        self._window_us = settings.hot_hours * hot.HOUR_US
        self._client: redis.Redis | None = None
        self._sha = ""
        self._latest: Readings = empty()
        self._tenants: dict[str, Any] = {}
        self._filled = False
        self._dirty = True
        """Redis may not have what is remembered here: after a start, and after every error."""

    def configure(self, tags: Mapping[str, Iterable[int]]) -> None:
        """Take the tags of each tenant, by slug."""
        self._tenants = {tenant: np.array(sorted(ids), np.int32) for tenant, ids in tags.items()}
        largest = max((int(ids[-1]) for ids in self._tenants.values() if len(ids)), default=0)
        if largest >= len(self._latest):
            latest = empty(largest + 1)
            latest["time"] = _NEVER
            latest[: len(self._latest)] = self._latest
            self._latest = latest
            self._dirty = True

    def write(self, tenant: str, readings: Readings) -> bool:
        """Write one batch of a tenant and publish it; false when Redis lacks hours that it should have."""
        try:
            client = self._connected()
        finally:  # remembered also when Redis is away; it is told of them once it is back
            newest = self._take_newest(readings)
        pipe = client.pipeline(transaction=False)
        pipe.exists(hot.FILLED_KEY)
        if len(newest):
            pipe.hset(hot.latest_key(tenant), items=_fields(newest))
        self._append(pipe, readings)
        pipe.publish(hot.channel(tenant), hot.encode_message(readings))
        try:
            filled = bool(pipe.execute()[0])
        except redis.RedisError:
            self._dirty = True
            raise
        self._dirty = self._filled and not filled  # emptied behind our back
        self._filled = filled
        return filled

    def mark(self, *, filled: bool) -> None:
        """Note in Redis that it has all it should, or that it has not."""
        client = self._connected()
        if filled:
            client.set(hot.FILLED_KEY, "1")
        else:
            client.delete(hot.FILLED_KEY)

    def append(self, readings: Readings) -> None:
        """Add readings to their hours only: what Redis missed, brought back from PostgreSQL."""
        pipe = self._connected().pipeline(transaction=False)
        self._append(pipe, readings)
        pipe.execute()

    def close(self) -> None:
        """Close the connection; the next write opens another."""
        if self._client is not None:
            self._client.close()
            self._client, self._dirty = None, True

    def _connected(self) -> redis.Redis:
        if self._client is None:
            self._client = hot.connect(self._settings)
        if self._dirty:
            self._sha = str(self._client.script_load(_APPEND))
            for tenant, tags in self._tenants.items():
                self._exchange(self._client, tenant, tags)
            self._dirty = False
        return self._client

    def _exchange(self, client: redis.Redis, tenant: str, tags: Any) -> None:  # noqa: ANN401 - an int32 array
        """Learn what Redis has that is newer, and give it what it lacks."""
        found = hot.latest(client, tenant, tags.tolist())
        if len(found):
            newer = found[found["time"] > self._latest["time"][found["tag_id"]]]
            self._latest[newer["tag_id"]] = newer
        known = self._latest[tags]
        known = known[known["time"] != _NEVER]
        if len(known):
            client.hset(hot.latest_key(tenant), items=_fields(known))

    def _take_newest(self, readings: Readings) -> Readings:
        """Return and remember the readings that are the newest of their tag."""
        order = np.lexsort((readings["time"], readings["tag_id"]))
        ordered = readings[order]
        last = np.ones(len(ordered), np.bool_)
        last[:-1] = np.diff(ordered["tag_id"]) != 0
        newest: Readings = ordered[last]
        newest = newest[newest["tag_id"] < len(self._latest)]
        newest = newest[newest["time"] >= self._latest["time"][newest["tag_id"]]]
        self._latest[newest["tag_id"]] = newest
        return newest

    def _append(self, pipe: Any, readings: Readings) -> None:  # noqa: ANN401 - redis has no public type for it
        now = self._clock.micros()
        readings = readings[readings["time"] >= (now // hot.HOUR_US) * hot.HOUR_US - self._window_us]
        if not len(readings):
            return
        hours = readings["time"] // hot.HOUR_US
        order = np.lexsort((hours, readings["tag_id"]))  # stable: the order of arrival stays
        tags, hours = readings["tag_id"][order], hours[order]
        starts = np.flatnonzero(np.concatenate(([True], (np.diff(tags) != 0) | (np.diff(hours) != 0))))
        raw = hot.pack_records(readings[order]).tobytes()
        bounds = np.append(starts, len(tags)) * hot.RECORD.itemsize
        keys = [hot.hour_key(t, h) for t, h in zip(tags[starts].tolist(), hours[starts].tolist(), strict=True)]
        values = [raw[a:b] for a, b in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]
        ttl = (self._window_us + 2 * hot.HOUR_US) // 1_000_000
        for at in range(0, len(keys), _KEYS_A_CALL):
            part = slice(at, at + _KEYS_A_CALL)
            pipe.evalsha(self._sha, len(keys[part]), *keys[part], ttl, *values[part])


def _fields(readings: Readings) -> list[str | bytes]:
    raw, size = readings.tobytes(), READING.itemsize
    return [
        part
        for at, tag in enumerate(readings["tag_id"].tolist())
        for part in (str(tag), raw[at * size : (at + 1) * size])
    ]
