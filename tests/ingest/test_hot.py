"""The hot tier on a real Redis: what is written comes back, one reading a time, and a newer one is never replaced."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streaming.sinks.hot import HotSink
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import READING, Readings, pack
from wellos.settings import Settings, load_settings
from wellos.storage import hot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.embedded.server import RunningServer

GOOD, BAD = Quality.GOOD, Quality.BAD
NOW = time.time_ns() // 1000 // hot.HOUR_US * hot.HOUR_US + 1_234_567


def of(*rows: tuple[int, int, float]) -> Readings:
    """Make readings of (tag, microseconds before now, value)."""
    tags, ages, values = zip(*rows, strict=True)
    return pack(NOW - np.array(ages), values, tags, GOOD, 0xFFFFFFFF, 1)


@pytest.fixture
def hot_settings(redis_url: str) -> Settings:
    return load_settings(redis_url=redis_url)


@pytest.fixture
def sink(hot_settings: Settings) -> Iterator[HotSink]:
    made = HotSink(hot_settings, WallClock())
    made.configure({"acme": [1, 2, 3], "beta": [9]})
    yield made
    made.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


def test_written_readings_come_back_whole(sink: HotSink, client: redis.Redis) -> None:
    batch = of((1, 3_600_000_000, 1.5), (2, 5, math.nan), (1, 7, -2.25), (1, 6, 1e300))
    sink.write("acme", batch)
    found = hot.last_hours(client, [1, 2, 3], NOW - 2 * hot.HOUR_US, NOW + 1)
    expected = batch[np.lexsort((batch["time"], batch["tag_id"]))]
    assert found.tobytes() == expected.tobytes()
    assert hot.last_hours(client, [1], NOW - 7, NOW - 6)["value"].tolist() == [-2.25]
    newest = hot.latest(client, "acme", [1, 2, 3])
    assert newest.tobytes() == of((1, 6, 1e300), (2, 5, math.nan)).tobytes()
    assert len(hot.latest(client, "beta", [1])) == 0
    assert 24 * 3600 < int(client.ttl(hot.hour_key(1, NOW // hot.HOUR_US))) <= 26 * 3600


def test_an_older_reading_never_replaces_a_newer_latest(
    sink: HotSink, client: redis.Redis, hot_settings: Settings
) -> None:
    sink.write("acme", of((1, 5, 5.0)))
    sink.write("acme", of((1, 10, 10.0)))
    assert hot.latest(client, "acme", [1])["value"].tolist() == [5.0]
    again = HotSink(hot_settings, WallClock())
    again.configure({"acme": [1, 2]})
    again.write("acme", of((1, 7, 7.0), (2, 1, 2.0)))
    assert hot.latest(client, "acme", [1, 2])["value"].tolist() == [5.0, 2.0]
    again.close()


def test_what_is_too_old_is_not_kept_by_hour(sink: HotSink, client: redis.Redis) -> None:
    sink.write("acme", of((1, 30 * hot.HOUR_US, 1.0)))
    assert client.keys("scada:hour:*") == []
    assert hot.latest(client, "acme", [1])["value"].tolist() == [1.0]


def test_a_repeat_comes_back_once_and_the_better_one_wins(sink: HotSink, client: redis.Redis) -> None:
    sink.write("acme", of((1, 5, 1.0)))
    worse = of((1, 5, 2.0))
    worse["quality"] = BAD
    sink.write("acme", worse)
    sink.append(of((1, 5, 3.0)))
    assert hot.last_hours(client, [1], NOW - 10, NOW)["value"].tolist() == [3.0]


def test_a_flush_is_noticed_and_the_latest_come_back(sink: HotSink, client: redis.Redis) -> None:
    assert not sink.write("acme", of((1, 9, 1.0)))
    sink.mark(filled=True)
    assert sink.write("acme", of((2, 9, 2.0)))
    client.flushall()
    assert not sink.write("acme", of((3, 9, 3.0)))
    sink.write("acme", of((3, 8, 4.0)))
    assert hot.latest(client, "acme", [1, 2, 3])["value"].tolist() == [1.0, 2.0, 4.0]


def test_many_tags_take_few_commands(sink: HotSink, client: redis.Redis) -> None:
    sink.configure({"acme": range(1, 5001)})
    sink.write("acme", of((1, 1, 1.0)))
    before = int(client.info("stats")["total_commands_processed"])
    calls = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    sink.write("acme", of(*((tag, 1, 1.0) for tag in range(1, 5001))))
    assert client.info("commandstats")["cmdstat_evalsha"]["calls"] - calls == 10
    assert int(client.info("stats")["total_commands_processed"]) >= before
    assert len(hot.latest(client, "acme", range(1, 5001))) == 5000


def test_redis_killed_is_an_error_and_then_works_again(own_redis: RunningServer) -> None:
    made = HotSink(load_settings(redis_url=own_redis.url), WallClock())
    made.configure({"acme": [1]})
    made.write("acme", of((1, 2, 1.0)))
    own_redis.kill()
    with pytest.raises(redis.RedisError):
        made.write("acme", of((1, 1, 2.0)))
    own_redis.start()
    made.write("acme", of((1, 3, 0.0)))
    with redis.Redis.from_url(own_redis.url) as client:
        assert hot.latest(client, "acme", [1])["value"].tolist() == [2.0]
    made.close()


@given(arrays.arrays(np.uint8, st.integers(0, 20).map(lambda n: n * READING.itemsize)))
def test_a_message_is_what_was_published(raw: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
    batch = raw.view(READING)
    assert hot.decode_message(hot.encode_message(batch)).tobytes() == batch.tobytes()


@given(st.binary(max_size=100))
def test_any_other_message_is_a_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError, match="readings"):
        hot.decode_message(raw)
