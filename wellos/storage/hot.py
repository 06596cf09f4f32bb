"""The hot tier in Redis: latest reading of every tag, the last hours of every tag, and the messages of every batch.

| key or channel | type | content |
|---|---|---|
| `scada:latest:TENANT:{GROUP}` | string | 64 slots of one packed `wellos.readings.READING`, by tag id % 64 |
| `scada:open:{GROUP}:HOUR` | string | segments as readings came; has a TTL |
| `scada:hour:{GROUP}:HOUR` | hash | tag id in decimal -> packed block of the hour, once that is closed; has a TTL |
| `scada:filled:INSTANCE` | string | there while Redis has all of this ingest's; not from a loss until it is filled |
| `scada:readings:TENANT` | channel | one message a batch, see `wellos.storage.hot_message` |

TENANT is the tenant's slug, GROUP is tag id // 64, HOUR counts from 1970-01-01 UTC; `wellos.storage.hot_records` has
the layout of segments and blocks. Braces are part of the keys: all hours of a group lie on one node of a Redis Cluster.
A slot that does not hold its own tag id is empty. A reading may lie in its hour twice (after a rebuild, or when two
values came for one time), and late ones are in the open key beside the closed hour: `last_hours` returns one a time,
the better quality and then the last received, which is the sink's rule too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import redis

from wellos.errors import ConfigurationError, Problem, UnreachableError
from wellos.readings import READING, empty
from wellos.storage.hot_message import Message, decode_message, encode_message
from wellos.storage.hot_records import GROUP, HOUR_US, decode_block, decode_segments, keep_best

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wellos.readings import Readings
    from wellos.settings import Settings

__all__ = [
    "GROUP",
    "HOUR_US",
    "Message",
    "channel",
    "connect",
    "decode_message",
    "encode_message",
    "filled_key",
    "hour_key",
    "last_hours",
    "latest",
    "latest_key",
    "marked_hours",
    "marked_latest",
    "open_key",
]


def latest_key(tenant: str, group: int) -> str:
    """Key of the latest readings of a group's tags that are the tenant's."""
    return f"scada:latest:{tenant}:{{{group}}}"


def open_key(group: int, hour: int) -> str:
    """Key of a group's readings of one hour (hours since 1970-01-01 UTC) as they came."""
    return f"scada:open:{{{group}}}:{hour}"


def hour_key(group: int, hour: int) -> str:
    """Key of a group's readings of one closed hour, packed."""
    return f"scada:hour:{{{group}}}:{hour}"


def filled_key(instance: str) -> str:
    """Key by which one ingest knows that Redis still has what it wrote.

    There is none while Redis lacks any of it. Its value is when PostgreSQL was last read whole, in microseconds by the
    clock of that server: what others had committed by then is in Redis too; 0 when that is not known.
    """
    return f"scada:filled:{instance}"


def channel(tenant: str) -> str:
    """Channel on which a tenant's batches are published."""
    return f"scada:readings:{tenant}"


def connect(settings: Settings) -> redis.Redis:
    """Return a client of the Redis of `settings`, checked; UnreachableError names the setting, hides the password."""
    if settings.redis_url is None:
        remedy = "Set it to redis://:password@host:port/0, or start the embedded one with `wellos up`"
        raise ConfigurationError(
            [Problem("no Redis is set and no embedded one is running", remedy, field="WELLOS_REDIS_URL")]
        )
    client = redis.Redis.from_url(
        settings.redis_url.get_secret_value(), socket_timeout=5, socket_connect_timeout=5, health_check_interval=0
    )
    try:
        client.ping()
    except redis.RedisError as error:
        parts = client.get_connection_kwargs()
        client.close()
        address = f"redis://{parts.get('host', 'localhost')}:{parts.get('port', 6379)}/{parts.get('db', 0)}"
        raise UnreachableError("WELLOS_REDIS_URL", address, str(error)) from None
    return client


def latest(client: redis.Redis, tenant: str, tag_ids: Iterable[int]) -> Readings:
    """Return the latest reading of each of these tags that has one, in the order of the tags."""
    return marked_latest(client, (), tenant, tag_ids)[1]


def marked_latest(
    client: redis.Redis, instances: Sequence[str], tenant: str, tag_ids: Iterable[int]
) -> tuple[list[int | None], Readings]:
    """Return the same, and of that very moment the marks of these ingests (see `filled_key`), None where one is not."""
    tags = np.fromiter(tag_ids, np.int64)
    if not len(tags):
        return [None] * len(instances), empty()
    groups, place = np.unique(tags // GROUP, return_inverse=True)
    pipe = client.pipeline(transaction=bool(instances))
    for instance in instances:
        pipe.get(filled_key(instance))
    for group in groups.tolist():
        pipe.get(latest_key(tenant, group))
    answers = pipe.execute()
    marks = [None if mark is None else int(mark) for mark in answers[: len(instances)]]
    size = GROUP * READING.itemsize
    slots = np.frombuffer(
        b"".join((raw or b"").ljust(size, b"\0")[:size] for raw in answers[len(instances) :]), READING
    )
    found = slots[place * GROUP + tags % GROUP]
    present: Readings = found[found["tag_id"] == tags]
    return marks, present


def last_hours(client: redis.Redis, tag_ids: Iterable[int], since_us: int, until_us: int) -> Readings:
    """Return what Redis holds of these tags with since <= time < until, by tag and time, one reading a time."""
    return marked_hours(client, (), tag_ids, since_us, until_us)[1]


def marked_hours(
    client: redis.Redis, instances: Sequence[str], tag_ids: Iterable[int], since_us: int, until_us: int
) -> tuple[list[int | None], Readings]:
    """Return the same, and of that very moment the marks of these ingests (see `filled_key`), None where one is not."""
    tags = np.unique(np.fromiter(tag_ids, np.int64))
    hours = range(since_us // HOUR_US, (until_us - 1) // HOUR_US + 1)
    wanted = [
        (int(group), hour, tags[tags // GROUP == group].tolist())
        for group in np.unique(tags // GROUP)
        for hour in hours
    ]
    pipe = client.pipeline(transaction=True)  # an hour that is packed just now is seen before or after, whole
    for instance in instances:
        pipe.get(filled_key(instance))
    for group, hour, members in wanted:
        pipe.hmget(hour_key(group, hour), members)
        pipe.get(open_key(group, hour))
    answers = pipe.execute() if instances or wanted else []
    marks = [None if mark is None else int(mark) for mark in answers[: len(instances)]]
    found = [empty()]
    answers = answers[len(instances) :]
    for (group, hour, members), blocks, raw in zip(wanted, answers[::2], answers[1::2], strict=True):
        found += [decode_block(tag, hour, block) for tag, block in zip(members, blocks, strict=True) if block]
        if raw:
            arrived = decode_segments(group, hour, raw)
            found.append(arrived[np.isin(arrived["tag_id"], members)])
    readings = np.concatenate(found)
    return marks, keep_best(readings[(readings["time"] >= since_us) & (readings["time"] < until_us)])
