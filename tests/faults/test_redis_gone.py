"""Redis killed, and emptied behind our back, while readings come: nothing else notices, and all of it comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
import redis
from pydantic import SecretStr

from benchmarks.assembly import Assembly, Field, register
from wellos.storage import hot
from wellos.storage.copy import read_readings
from wellos.storage.hot_records import keep_best
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.embedded.server import RunningServer
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault


class _Both:
    """What PostgreSQL and Redis hold of the same tags and time."""

    def __init__(self, settings: Settings, url: str, tags: list[int], since_us: int) -> None:
        self._settings, self._url, self._tags, self._since_us = settings, url, tags, since_us

    def stored(self) -> Readings:
        with connect(self._settings) as connection:
            found = read_readings(connection, self._tags, self._since_us, self._since_us + hot.HOUR_US)
        return keep_best(found)

    def hot(self) -> Readings:
        with redis.Redis.from_url(self._url) as client:
            return hot.last_hours(client, self._tags, self._since_us, self._since_us + hot.HOUR_US)

    def latest(self) -> list[float]:
        with redis.Redis.from_url(self._url) as client:
            values: list[float] = hot.latest(client, "benchmark", self._tags)["value"].tolist()
        return values

    def equal(self) -> bool:
        stored, kept = self.stored(), self.hot()
        return len(stored) > 0 and stored.tobytes() == kept.tobytes()


async def _until_equal(assembly: Assembly, field: Field, both: _Both, first: int) -> int:
    """Let readings go on coming until Redis has all that is stored; return the second of the field to go on with."""
    async with asyncio.timeout(120):
        for number in range(first, first + 1000):
            await assembly.push(field, range(number, number + 1))
            await assembly.intake.settled()
            await assembly.drain.caught_up()
            await asyncio.sleep(0.2)
            if both.equal():
                return number + 1
    raise AssertionError("Redis never had all that is stored")


async def test_redis_killed_and_then_flushed(database_settings: Settings, own_redis: RunningServer) -> None:
    settings = database_settings.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    connections = register(settings, 4)
    tags = [tag.tag_id for item in connections for tag in item.tags]
    assembly = Assembly(settings, connections, with_redis=True)
    since = assembly.clock.micros() - 1_800_000_000
    field, both = Field(connections, since), _Both(settings, own_redis.url, tags, since)
    errors = assembly.counters.hot
    async with assembly.running():
        number = await _until_equal(assembly, field, both, 0)

        own_redis.kill()
        await assembly.push(field, range(number, number + 20))
        await assembly.intake.settled()
        await assembly.drain.caught_up()
        assert assembly.journal.pending_rows == 0
        assert len(both.stored()) == (number + 20) * field.rows
        own_redis.start()
        number = await _until_equal(assembly, field, both, number + 20)
        assert errors["errors"] > 0
        assert errors["dropped"] > 0

        with redis.Redis.from_url(own_redis.url) as client:
            client.flushall()
        assert len(both.hot()) == 0
        number = await _until_equal(assembly, field, both, number)
        assert len(both.hot()) == number * field.rows
        newest = both.stored()[np.flatnonzero(np.diff(both.stored()["tag_id"], append=-1))]
        assert both.latest() == newest["value"].tolist()
    assembly.close()


async def test_redis_killed_while_nothing_can_be_stored(
    database_settings: Settings, own_redis: RunningServer, db: PgConnection
) -> None:
    settings = database_settings.model_copy(update={"redis_url": SecretStr(own_redis.url)})
    connections = register(settings, 4)
    tags = [tag.tag_id for item in connections for tag in item.tags]
    assembly = Assembly(settings, connections, with_redis=True)
    since = assembly.clock.micros() - 30_000_000
    field, both = Field(connections, since), _Both(settings, own_redis.url, tags, since)
    async with assembly.running():
        number = await _until_equal(assembly, field, both, 0)
        with db.transaction():
            db.execute("LOCK TABLE readings IN ACCESS EXCLUSIVE MODE")
            own_redis.kill()
            await assembly.push(field, range(number, number + 10))
            await assembly.intake.settled()
            own_redis.start()
            await assembly.push(field, range(number + 10, number + 12))
            await assembly.intake.settled()
            await asyncio.sleep(0.5)
            assert assembly.journal.pending_rows >= 12 * field.rows, "nothing of it was stored meanwhile"
        number = await _until_equal(assembly, field, both, number + 12)
        assert assembly.counters.hot["dropped"] > 0
        assert len(both.hot()) == number * field.rows
    assembly.close()
