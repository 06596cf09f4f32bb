"""Results of closed days in Redis, fetched once however many ask at the same moment.

| key | type | content |
|---|---|---|
| `wellos:cache:part:NAME` | string | a frame as an Arrow IPC stream, lz4; has a TTL |
| `wellos:cache:lock:NAME` | string | somebody is fetching it; gone after a few seconds at the latest |
| `wellos:cache:stats` | hash | `hits` and `misses`: blocks found, and not found, since the hash was last deleted |

NAME tells the content (`blocks.content_key`), with the count of all changes of its days: after a change other names are
asked for, so an entry is never stale, and nothing is ever deleted but by its TTL.
"""

from __future__ import annotations

import io
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYetError
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis

    from wellos.clock import Clock
    from wellos.query.redis_link import RedisLink

__all__ = ["LOCK_PREFIX", "PART_PREFIX", "STATS_KEY", "Cache", "Flight"]

PART_PREFIX, LOCK_PREFIX, STATS_KEY = "wellos:cache:part:", "wellos:cache:lock:", "wellos:cache:stats"
_MOST_BYTES = 4 << 20
"""Of one entry: what is larger is read again each time."""
_NEAR_BYTES = 64 << 20
"""Of unpacked frames that a process keeps."""
_LOCK_MS = 5000
_PATIENCE_S = 5.0
"""To wait for somebody else's fetch; after that one's own is sooner done."""
_LOOK_EVERY_S = 0.01
_COUNT_EVERY_S = 1.0


@dataclass(slots=True)
class Flight:
    """Blocks that are missing: those to fetch, those that a thread or another process is fetching."""

    mine: dict[str, Future[pl.DataFrame | None]] = field(default_factory=dict)
    theirs: dict[str, Future[pl.DataFrame | None]] = field(default_factory=dict)
    remote: dict[str, Future[pl.DataFrame | None]] = field(default_factory=dict)


class Cache:
    """Threads may share it. Without Redis nothing is found, and threads of this process still fetch once."""

    def __init__(self, link: RedisLink, clock: Clock, ttl_s: int) -> None:
        self._link, self._clock, self._ttl_s = link, clock, ttl_s
        self._lock = threading.Lock()
        self._flying: dict[str, Future[pl.DataFrame | None]] = {}
        self._counted = {"hits": 0, "misses": 0}
        self._count_after = 0.0
        self._near: OrderedDict[str, tuple[float, pl.DataFrame]] = OrderedDict()
        self._near_bytes = 0.0

    @property
    def on(self) -> bool:
        """Whether anything is to be cached at all."""
        return self._ttl_s > 0

    def get(self, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return what is there of these blocks, and count hits and misses."""
        found = self._look(names)
        with self._lock:
            self._counted["hits"] += len(found)
            self._counted["misses"] += len(names) - len(found)
        if self._clock.monotonic() >= self._count_after:
            self.flush()
        return found

    def claim(self, names: Sequence[str]) -> Flight:
        """Divide missing blocks into ours to fetch and those that others fetch; `settle` must follow."""
        flight = Flight()
        with self._lock:
            for name in names:
                if name in self._flying:
                    flight.theirs[name] = self._flying[name]
                else:
                    self._flying[name] = flight.mine[name] = Future()
        ours = list(flight.mine)
        taken = self._link.ask(lambda client: _taken(client, ours)) if ours else None
        for name in set(ours) - set(ours if taken is None else taken):
            flight.remote[name] = flight.mine.pop(name)
        return flight

    def land(self, flight: Flight, frames: Mapping[str, pl.DataFrame]) -> None:
        """Keep those of our blocks that are given, and hand them to whoever waits."""
        entries = {name: raw for name, frame in frames.items() if len(raw := _encoded(frame)) <= _MOST_BYTES}

        def work(client: redis.Redis) -> int:
            pipe = client.pipeline(transaction=False)
            for name, raw in entries.items():
                pipe.set(PART_PREFIX + name, raw, ex=self._ttl_s)
            return len(pipe.execute())

        if entries and self._link.ask(work) is not None:
            self._keep({name: frames[name] for name in entries})
        for name, frame in frames.items():
            flight.mine[name].set_result(frame)

    def settle(self, flight: Flight) -> None:
        """End a flight: who waits for a block that did not land fetches it himself."""
        names = list(flight.mine)
        if names:
            self._link.ask(lambda client: client.delete(*(LOCK_PREFIX + name for name in names)))
        with self._lock:
            for name in (*flight.mine, *flight.remote):
                self._flying.pop(name)
        for future in (*flight.mine.values(), *flight.remote.values()):
            if not future.done():
                future.set_result(None)

    def wait(self, flight: Flight) -> dict[str, pl.DataFrame]:
        """Return what others have fetched; blocks that do not come in time are left out."""
        deadline = self._clock.monotonic() + _PATIENCE_S
        found: dict[str, pl.DataFrame] = {}
        missing = list(flight.remote)
        while missing and self._clock.monotonic() < deadline:
            flying = self._link.ask(partial(_locked, names=missing))
            found |= self._look(
                missing
            )  # after the look at the locks: what is no longer locked has landed, or will not
            missing = [name for name in missing if name not in found]
            if not flying:
                break
            time.sleep(_LOOK_EVERY_S)
        for name, future in flight.remote.items():
            future.set_result(found.get(name))
        for name, future in flight.theirs.items():
            try:
                frame = future.result(max(0.0, deadline - self._clock.monotonic()))
            except NotYetError:
                continue
            if frame is not None:
                found[name] = frame
        return found

    def flush(self) -> None:
        """Add what was counted here to the counts in Redis."""
        self._count_after = self._clock.monotonic() + _COUNT_EVERY_S
        with self._lock:
            counted = {name: number for name, number in self._counted.items() if number}
            self._counted = {"hits": 0, "misses": 0}

        def work(client: redis.Redis) -> None:
            pipe = client.pipeline(transaction=False)
            for name, number in counted.items():
                pipe.hincrby(STATS_KEY, name, number)
            pipe.execute()

        if counted:
            self._link.ask(work)

    def _look(self, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        found = self._recall(names)
        rest = [name for name in names if name not in found]
        if rest:
            raws = self._link.ask(lambda client: _entries(client, rest)) or [None] * len(rest)
            read = {name: frame for name, raw in zip(rest, raws, strict=True) if (frame := _decoded(raw)) is not None}
            self._keep(read)
            found |= read
        return found

    def _recall(self, names: Sequence[str]) -> dict[str, pl.DataFrame]:
        """Return what this process has unpacked lately."""
        now, found = self._clock.monotonic(), {}
        with self._lock:
            for name in names:
                until, frame = self._near.get(name, (0.0, None))
                if frame is not None and until > now:
                    self._near.move_to_end(name)
                    found[name] = frame
        return found

    def _keep(self, frames: Mapping[str, pl.DataFrame]) -> None:
        """Keep unpacked frames for a while; a name never stands for another content, so they cannot be stale."""
        until = self._clock.monotonic() + self._ttl_s
        with self._lock:
            for name, frame in frames.items():
                if name not in self._near:
                    self._near_bytes += frame.estimated_size()
                self._near[name] = (until, frame)
            while self._near_bytes > _NEAR_BYTES:
                self._near_bytes -= self._near.popitem(last=False)[1][1].estimated_size()


def _entries(client: redis.Redis, names: Sequence[str]) -> list[Any]:
    return list(client.mget([PART_PREFIX + name for name in names]))


def _taken(client: redis.Redis, names: Sequence[str]) -> list[str]:
    """Return those of the names whose lock was free and now is ours."""
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.set(LOCK_PREFIX + name, "1", nx=True, px=_LOCK_MS)
    return [name for name, got in zip(names, pipe.execute(), strict=True) if got]


def _locked(client: redis.Redis, names: Sequence[str]) -> bool:
    return bool(client.exists(*(LOCK_PREFIX + name for name in names)))


def _encoded(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc_stream(buffer, compression="lz4")
    return buffer.getvalue()


def _decoded(raw: bytes | None) -> pl.DataFrame | None:
    if raw is None:
        return None
    try:
        return pl.read_ipc_stream(io.BytesIO(raw))
    except (pl.exceptions.PolarsError, OSError):
        return None  # no entry of ours: it is read and written anew
