"""The hot tier in Redis: latest reading of every tag, the last hours of every tag, and the message of every batch.

| key or channel | type | content |
|---|---|---|
| `scada:latest:TENANT` | hash | tag id in decimal -> one packed `wellos.readings.READING` |
| `scada:hour:{TAG}:HOUR` | string | records of `RECORD` as they arrived; HOUR: since 1970-01-01 UTC; has a TTL |
| `scada:filled` | string | there while Redis has all it should: after a flush, until the hours are filled again, not |
| `scada:readings:TENANT` | channel | one message a batch: magic `WR`, version u8, spare u8, rows u32, READINGs |

TENANT is the tenant's slug. Braces are part of the hour keys: all hours of a tag lie on one node of a Redis Cluster.
A reading may lie in its hour twice (after a rebuild, or when two values came for one time): `last_hours` returns one a
time, the better quality and then the last received, which is the sink's rule too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import numpy as np
import redis

from wellos.errors import ConfigurationError, Problem, UnreachableError
from wellos.readings import READING, empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from wellos.readings import Readings
    from wellos.settings import Settings

__all__ = [
    "FILLED_KEY",
    "HOUR_US",
    "RECORD",
    "channel",
    "connect",
    "decode_message",
    "encode_message",
    "hour_key",
    "last_hours",
    "latest",
    "latest_key",
    "pack_records",
    "unpack_records",
]

FILLED_KEY = "scada:filled"
HOUR_US = 3_600_000_000
RECORD = np.dtype([("offset", "<u4"), ("value", "<f8"), ("status", "<u4"), ("quality", "u1"), ("flags", "u1")])
"""18 bytes: microseconds since the hour began, and the rest of a reading."""

_MESSAGE = struct.Struct("<2sBBI")
_MESSAGE_VERSION = 1


def latest_key(tenant: str) -> str:
    """Key of the hash of a tenant's latest readings."""
    return f"scada:latest:{tenant}"


def hour_key(tag_id: int, hour: int) -> str:
    """Key of one tag's readings of one hour (hours since 1970-01-01 UTC)."""
    return f"scada:hour:{{{tag_id}}}:{hour}"


def channel(tenant: str) -> str:
    """Channel on which a tenant's batches are published."""
    return f"scada:readings:{tenant}"


def encode_message(readings: Readings) -> bytes:
    """Return the message of one batch."""
    return _MESSAGE.pack(b"WR", _MESSAGE_VERSION, 0, len(readings)) + readings.tobytes()


def decode_message(message: bytes) -> Readings:
    """Return the batch in a message; ValueError says what is wrong with it."""
    if len(message) < _MESSAGE.size:
        raise ValueError(f"{len(message)} bytes are no batch of readings")
    magic, version, _, rows = _MESSAGE.unpack_from(message)
    if magic != b"WR" or version != _MESSAGE_VERSION:
        raise ValueError(f"not a batch of readings of version {_MESSAGE_VERSION}")
    if len(message) != _MESSAGE.size + rows * READING.itemsize:
        raise ValueError(f"{rows} readings are announced, {len(message) - _MESSAGE.size} bytes came")
    return np.frombuffer(message, READING, rows, _MESSAGE.size)


def pack_records(readings: Readings) -> np.ndarray[Any, np.dtype[np.void]]:
    """Return readings as RECORDs of their hours."""
    records = np.empty(len(readings), RECORD)
    records["offset"] = readings["time"] % HOUR_US
    for name in ("value", "status", "quality", "flags"):
        records[name] = readings[name]
    return records


def unpack_records(tag_id: int, hour: int, raw: bytes) -> Readings:
    """Return the readings of one hour key in the order they arrived; a cut-off last record is left out."""
    records = np.frombuffer(raw, RECORD, len(raw) // RECORD.itemsize)
    readings = empty(len(records))
    readings["time"] = records["offset"].astype(np.int64) + hour * HOUR_US
    readings["tag_id"] = tag_id
    for name in ("value", "status", "quality", "flags"):
        readings[name] = records[name]
    return readings


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


def latest(client: redis.Redis, tenant: str, tag_ids: Sequence[int]) -> Readings:
    """Return the latest reading of each of these tags that has one."""
    if not tag_ids:
        return empty()
    found: list[bytes | None] = client.hmget(latest_key(tenant), [str(tag) for tag in tag_ids])  # type: ignore[assignment]
    return np.frombuffer(b"".join(raw for raw in found if raw and len(raw) == READING.itemsize), READING)


def last_hours(client: redis.Redis, tag_ids: Iterable[int], since_us: int, until_us: int) -> Readings:
    """Return what Redis holds of these tags with since <= time < until, by tag and time, one reading a time."""
    keys = [(tag, hour) for tag in tag_ids for hour in range(since_us // HOUR_US, (until_us - 1) // HOUR_US + 1)]
    if not keys:
        return empty()
    pipe = client.pipeline(transaction=False)
    for tag, hour in keys:
        pipe.get(hour_key(tag, hour))
    found = [
        unpack_records(tag, hour, raw) for (tag, hour), raw in zip(keys, pipe.execute(), strict=True) if raw is not None
    ]
    if not found:
        return empty()
    readings = np.concatenate(found)
    readings = readings[(readings["time"] >= since_us) & (readings["time"] < until_us)]
    order = np.lexsort((readings["quality"], readings["time"], readings["tag_id"]))  # stable: the last received is last
    readings = readings[order]
    last = np.ones(len(readings), np.bool_)
    last[:-1] = (np.diff(readings["tag_id"]) != 0) | (np.diff(readings["time"]) != 0)
    return readings[last]
