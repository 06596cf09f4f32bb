"""What the hot tier holds, and its upkeep: hours that Redis lost come back from the warm tier, strays go.

Everything here is safe beside ingest: an hour is packed only if nobody wrote to it meanwhile, and the hour under way is
ingest's alone. While an ingest fills Redis itself, it is left to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from psycopg.rows import namedtuple_row

from wellos.clock import pace
from wellos.readings import READING
from wellos.storage import hot
from wellos.storage.copy import iter_readings
from wellos.storage.hot_pack import SETTLE_US, pack_hour, ttl_s
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import redis

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = [
    "HotHour",
    "HotTier",
    "Rebuilt",
    "Tags",
    "Trimmed",
    "filling",
    "living",
    "load_tags",
    "look",
    "rebuild",
    "trim",
]

_HOUR_KEY = re.compile(rb"scada:(hour|open):\{(\d+)\}:(-?\d+)")
_LATEST_KEY = re.compile(rb"scada:latest:([a-z0-9_]+):\{(\d+)\}")
_FILLED_KEY = re.compile(rb"scada:filled:(.+)")
_KEYS_A_CALL = 500
_GROUPS_A_READ = 8
"""Tags read from the warm tier at once: some 512, of one hour."""
_HEARTBEAT_S = 60.0
_ATTEMPTS = 3
_NO_END = -1
"""What Redis calls the time to live of a key that has none."""

# Both count readings without sending them: the first in the blocks of a closed hour, the second in the segments of an
# open one (see `wellos.storage.hot_records` for the layout).
_ROWS_OF_BLOCKS = """
local total = 0
for _, block in ipairs(redis.call('HVALS', KEYS[1])) do
  local a, b, c, d = string.byte(block, 3, 6)
  total = total + a + b * 256 + c * 65536 + d * 16777216
end
return total
"""
_ROWS_OF_SEGMENTS = """
local at, total, size = 0, 0, redis.call('STRLEN', KEYS[1])
while size - at >= 5 do
  local form, a, b, c, d = string.byte(redis.call('GETRANGE', KEYS[1], at, at + 4), 1, 5)
  local rows = a + b * 256 + c * 65536 + d * 16777216
  local length = 5
  length = length + (bit.band(form, 1) > 0 and 1 or rows)
  length = length + 4 * (bit.band(form, 2) > 0 and 1 or rows)
  length = length + (bit.band(form, 4) > 0 and 4 or 8) * rows
  if bit.band(form, 16) == 0 then length = length + 6 * (bit.band(form, 8) > 0 and 1 or rows) end
  if rows == 0 or at + length > size then break end
  total, at = total + rows, at + length
end
return total
"""


@dataclass(frozen=True, slots=True)
class Tags:
    """The registry's tags, as the hot tier groups them."""

    tenants: Mapping[int, str]
    """Tag id -> slug of its tenant."""
    retired_us: Mapping[int, int]
    """Retired tag -> when it was retired."""

    def groups(self) -> Mapping[int, Sequence[int]]:
        """Return group -> its tags."""
        found: dict[int, list[int]] = {}
        for tag in sorted(self.tenants):
            found.setdefault(tag // hot.GROUP, []).append(tag)
        return found

    def shares(self, group: int) -> Mapping[str, float]:
        """Return how much of a group is each tenant's, by number of tags."""
        tags = [tag for tag in range(group * hot.GROUP, (group + 1) * hot.GROUP) if tag in self.tenants]
        found: dict[str, float] = {}
        for tag in tags:
            found[self.tenants[tag]] = found.get(self.tenants[tag], 0.0) + 1 / len(tags)
        return found


@dataclass(frozen=True, slots=True)
class HotHour:
    """One key of the last hours: a group of tags in one hour."""

    group: int
    hour: int
    """Hours since 1970-01-01 UTC."""
    packed: bool
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class HotTier:
    """All that Redis holds of readings."""

    hours: tuple[HotHour, ...]
    latest: Mapping[str, int]
    """Tenant -> bytes of its latest readings."""
    latest_keys: int

    @property
    def keys(self) -> int:
        """Keys of hours and of latest readings."""
        return len(self.hours) + self.latest_keys

    @property
    def bytes(self) -> int:
        """As Redis counts its memory."""
        return sum(item.bytes for item in self.hours) + sum(self.latest.values())

    @property
    def rows(self) -> int:
        """Readings in the hours; one that came twice may count twice."""
        return sum(item.rows for item in self.hours)

    @property
    def span(self) -> tuple[int, int] | None:
        """First and last hour, None without any."""
        hours = [item.hour for item in self.hours]
        return (min(hours), max(hours)) if hours else None


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What `trim` removed."""

    hours: int
    """Keys of hours that have left the window."""
    untimed: int
    """Keys that had no time to live and now have one."""
    latest: int
    """Latest readings of retired tags."""
    filled: int
    """Marks of ingest instances that are gone for good."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What `rebuild` brought back."""

    missing: int
    """(group, hour) of closed hours without a key."""
    hours: int
    """Of these, brought back: the warm tier has readings of them."""
    rows: int
    left_to: str
    """Why nothing was done: an ingest that is filling Redis; empty otherwise."""


def load_tags(conn: PgConnection) -> Tags:
    """Read the registry's tags."""
    rows = conn.execute(query("tier_tags")).fetchall()
    retired = {tag: int(when.timestamp() * 1_000_000) for _, tag, when in rows if when is not None}
    return Tags({tag: tenant for tenant, tag, _ in rows}, retired)


def look(client: redis.Redis) -> HotTier:
    """Count keys, readings and bytes. Reads no reading: Redis counts them itself."""
    hours, latest = [], []
    for key in client.scan_iter(match="scada:*", count=1000):
        if found := _HOUR_KEY.fullmatch(key):
            hours.append((int(found[2]), int(found[3]), found[1] == b"hour", key))
        elif found := _LATEST_KEY.fullmatch(key):
            latest.append((found[1].decode(), key))
    counted = _counted(client, hours)
    of_tenants: dict[str, int] = {}
    for (tenant, _), size in zip(latest, _sizes(client, [key for _, key in latest]), strict=True):
        of_tenants[tenant] = of_tenants.get(tenant, 0) + size
    return HotTier(tuple(sorted(counted, key=lambda item: (item.hour, item.group))), of_tenants, len(latest))


def trim(client: redis.Redis, conn: PgConnection, settings: Settings, clock: Clock) -> Trimmed:
    """Remove what has left the window, and the state of tags that were retired before it began."""
    now = clock.micros()
    oldest = now // hot.HOUR_US - settings.hot_hours - 2
    old: list[tuple[bytes, int]] = []
    within: list[tuple[bytes, int]] = []
    for key in client.scan_iter(match="scada:*:{*}:*", count=1000):
        if found := _HOUR_KEY.fullmatch(key):
            (old if int(found[3]) < oldest else within).append((key, int(found[3])))
    for part in _slices(old):
        client.unlink(*(key for key, _ in part))
    untimed = _give_an_end(client, within, clock, settings.hot_hours)
    latest = _forget_retired(client, load_tags(conn), now - settings.hot_hours * hot.HOUR_US)
    return Trimmed(len(old), untimed, latest, _forget_instances(client, conn))


def living(conn: PgConnection, clock: Clock) -> list[str]:
    """Return the spools of the ingest instances that live."""
    most_s, now = _HEARTBEAT_S * pace(clock), clock.now()
    return [
        one.spool_id
        for one in _instances(conn)
        if one.stopped_at is None and (now - one.heartbeat_at).total_seconds() < most_s
    ]


def filling(client: redis.Redis, conn: PgConnection, clock: Clock) -> str:
    """Return the live ingest instance that is filling Redis or has yet to, empty when none is."""
    return next((one for one in living(conn, clock) if not client.exists(hot.filled_key(one))), "")


def rebuild(client: redis.Redis, conn: PgConnection, settings: Settings, clock: Clock) -> Rebuilt:
    """Bring back the closed hours of the window that Redis has no key of and the warm tier has readings of."""
    now = clock.micros()
    busy = filling(client, conn, clock)
    if busy:
        return Rebuilt(0, 0, 0, f"ingest {busy} is filling Redis")
    groups = load_tags(conn).groups()
    missing = hours = rows = 0
    for hour in range(now // hot.HOUR_US - settings.hot_hours, (now - SETTLE_US) // hot.HOUR_US):
        lost = _lost(client, hour, list(groups))
        missing += len(lost)
        for part in _slices(lost, _GROUPS_A_READ):
            tags = [tag for group in part for tag in groups[group]]
            for group, readings in _by_group(_read(conn, tags, hour)):
                hours += _pack(client, group, hour, ttl_s(clock, hour, settings.hot_hours), readings)
                rows += len(readings)
    return Rebuilt(missing, hours, rows, "")


def _read(conn: PgConnection, tags: Sequence[int], hour: int) -> Readings:
    parts = list(iter_readings(conn, tags, hour * hot.HOUR_US, (hour + 1) * hot.HOUR_US))
    return np.concatenate(parts)


def _by_group(readings: Readings) -> Iterator[tuple[int, Readings]]:
    groups = readings["tag_id"] // hot.GROUP
    for group in np.unique(groups).tolist():
        yield group, readings[groups == group]


def _pack(client: redis.Redis, group: int, hour: int, ttl: int, readings: Readings) -> bool:
    return any(pack_hour(client, group, hour, ttl, readings) for _ in range(_ATTEMPTS))


def _lost(client: redis.Redis, hour: int, groups: Sequence[int]) -> list[int]:
    pipe = client.pipeline(transaction=False)
    for group in groups:
        pipe.exists(hot.hour_key(group, hour), hot.open_key(group, hour))
    return [group for group, there in zip(groups, pipe.execute(), strict=True) if not there] if groups else []


def _give_an_end(client: redis.Redis, keys: Sequence[tuple[bytes, int]], clock: Clock, hot_hours: int) -> int:
    """Have keys that would stay for ever expire; return how many there were."""
    found = 0
    for part in _slices(keys):
        pipe = client.pipeline(transaction=False)
        for key, _ in part:
            pipe.ttl(key)
        endless = [item for item, left in zip(part, pipe.execute(), strict=True) if left == _NO_END]
        pipe = client.pipeline(transaction=False)
        for key, hour in endless:
            pipe.expire(key, ttl_s(clock, hour, hot_hours))
        pipe.execute()
        found += len(endless)
    return found


def _forget_retired(client: redis.Redis, tags: Tags, before_us: int) -> int:
    """Empty the slots of latest readings of tags retired before then; return how many were not empty."""
    gone = [(tags.tenants[tag], tag) for tag, retired in tags.retired_us.items() if retired < before_us]
    size, removed = READING.itemsize, 0
    for part in _slices(gone):
        pipe = client.pipeline(transaction=False)
        for tenant, tag in part:
            at = tag % hot.GROUP * size
            pipe.getrange(hot.latest_key(tenant, tag // hot.GROUP), at, at + size - 1)
        held = [place for place, slot in zip(part, pipe.execute(), strict=True) if any(slot)]
        pipe = client.pipeline(transaction=False)
        for tenant, tag in held:
            pipe.setrange(hot.latest_key(tenant, tag // hot.GROUP), tag % hot.GROUP * size, bytes(size))
        pipe.execute()
        removed += len(held)
    return removed


def _forget_instances(client: redis.Redis, conn: PgConnection) -> int:
    known = {one.spool_id.encode() for one in _instances(conn)}
    keys = client.scan_iter(match="scada:filled:*", count=1000)
    gone = [key for key in keys if (found := _FILLED_KEY.fullmatch(key)) and found[1] not in known]
    return int(client.unlink(*gone)) if gone else 0


def _instances(conn: PgConnection) -> Sequence[Any]:
    with conn.cursor(row_factory=namedtuple_row) as cursor:
        return cursor.execute(query("hot_instances")).fetchall()


def _counted(client: redis.Redis, keys: Sequence[tuple[int, int, bool, bytes]]) -> list[HotHour]:
    sizes = _sizes(client, [key for *_, key in keys])
    rows: list[int] = []
    for part in _slices(keys):
        pipe = client.pipeline(transaction=False)
        for _, _, packed, key in part:
            pipe.eval(_ROWS_OF_BLOCKS if packed else _ROWS_OF_SEGMENTS, 1, key)
        rows += map(int, pipe.execute())
    return [HotHour(*key[:3], n, size) for key, n, size in zip(keys, rows, sizes, strict=True) if size]


def _sizes(client: redis.Redis, keys: Sequence[bytes]) -> list[int]:
    sizes: list[int] = []
    for part in _slices(keys):
        pipe = client.pipeline(transaction=False)
        for key in part:
            pipe.memory_usage(key)
        sizes += (int(size or 0) for size in pipe.execute())  # None: gone meanwhile
    return sizes


def _slices(items: Iterable[Any], size: int = _KEYS_A_CALL) -> Iterator[Sequence[Any]]:
    found = list(items)
    return (found[at : at + size] for at in range(0, len(found), size))
