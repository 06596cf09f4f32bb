"""The hot tier on a real Redis: what is written comes back, one reading a time, and a newer one is never replaced."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import redis

from streaming.sinks.hot import HotSink
from wellos.clock import ScaledClock, WallClock, seconds_until
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.settings import Settings, load_settings
from wellos.storage import hot, hot_pack

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
    made = HotSink(hot_settings, WallClock(), "one")
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
    assert 24 * 3600 < int(client.ttl(hot.open_key(0, NOW // hot.HOUR_US))) <= 26 * 3600


def test_an_older_reading_never_replaces_a_newer_latest(
    sink: HotSink, client: redis.Redis, hot_settings: Settings
) -> None:
    sink.write("acme", of((1, 5, 5.0)))
    sink.write("acme", of((1, 10, 10.0)))
    assert hot.latest(client, "acme", [1])["value"].tolist() == [5.0]
    again = HotSink(hot_settings, WallClock(), "one")
    again.configure({"acme": [1, 2]})
    again.write("acme", of((1, 7, 7.0), (2, 1, 2.0)))
    assert hot.latest(client, "acme", [1, 2])["value"].tolist() == [5.0, 2.0]
    again.close()


def test_what_is_too_old_is_not_kept_by_hour(sink: HotSink, client: redis.Redis) -> None:
    sink.write("acme", of((1, 30 * hot.HOUR_US, 1.0)))
    assert client.keys("scada:open:*") == []
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
    batch = of(*((tag, 1, 1.0) for tag in range(1, 5001)))
    sink.write("acme", batch)
    client.config_resetstat()
    sink.write("acme", batch)
    calls = {name: int(stat["calls"]) for name, stat in client.info("commandstats").items()}
    groups = 5000 // hot.GROUP + 1
    assert calls["cmdstat_append"] == groups
    assert calls["cmdstat_setrange"] == groups
    assert "cmdstat_expire" not in calls
    assert len(hot.latest(client, "acme", range(1, 5001))) == 5000


def test_a_closed_hour_is_packed_and_late_readings_join_it(sink: HotSink, client: redis.Redis) -> None:
    hour = NOW // hot.HOUR_US - 2
    age = NOW - hour * hot.HOUR_US
    first = of((1, age - 10, 1.0), (2, age - 20, math.nan), (1, age - 30, 3.0))
    sink.write("acme", first)
    assert sink.closed() == [(0, hour)]
    assert sink.pack(0, hour)
    assert sink.closed() == []
    assert client.exists(hot.open_key(0, hour)) == 0
    late = of((1, age - 10, 9.0), (3, age - 1, 4.0))
    sink.write("acme", late)
    both = np.concatenate([first[1:], late])
    expected = both[np.lexsort((both["time"], both["tag_id"]))].tobytes()
    assert hot.last_hours(client, [1, 2, 3], NOW - 3 * hot.HOUR_US, NOW).tobytes() == expected
    assert sink.pack(0, hour)
    assert hot.last_hours(client, [1, 2, 3], NOW - 3 * hot.HOUR_US, NOW).tobytes() == expected
    assert client.exists(hot.open_key(0, hour)) == 0
    assert 22 * 3600 < int(client.ttl(hot.hour_key(0, hour))) <= 24 * 3600


def test_an_hour_written_to_while_it_is_packed_loses_nothing(
    sink: HotSink, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = NOW // hot.HOUR_US - 2
    age = NOW - hour * hot.HOUR_US
    sink.write("acme", of((1, age - 10, 1.0)))
    packed, between = hot_pack._packed, of((1, age - 11, 2.0))

    def disturbed(*arguments: Any) -> list[str | bytes]:  # noqa: ANN401 - redis has no type for its pipeline
        blocks = packed(*arguments)
        sink.append(between)
        return blocks

    monkeypatch.setattr(hot_pack, "_packed", disturbed)
    assert not sink.pack(0, hour)
    monkeypatch.undo()
    assert hot.last_hours(client, [1], NOW - 3 * hot.HOUR_US, NOW)["value"].tolist() == [1.0, 2.0]
    assert sink.closed() == [(0, hour)]
    assert sink.pack(0, hour)
    assert hot.last_hours(client, [1], NOW - 3 * hot.HOUR_US, NOW)["value"].tolist() == [1.0, 2.0]


def test_open_hours_of_the_process_before_are_packed(
    sink: HotSink, client: redis.Redis, hot_settings: Settings
) -> None:
    hour = NOW // hot.HOUR_US - 5
    sink.write("acme", of((1, NOW - hour * hot.HOUR_US - 10, 1.0)))
    again = HotSink(hot_settings, WallClock(), "one")
    again.configure({"acme": [1]})
    again.write("acme", of((1, 1, 2.0)))
    assert again.closed() == [(0, hour)]
    assert again.pack(0, hour)
    assert client.exists(hot.hour_key(0, hour)) == 1
    again.close()


def test_two_ingests_share_a_group_and_keep_each_others_tags(
    sink: HotSink, client: redis.Redis, hot_settings: Settings
) -> None:
    other = HotSink(hot_settings, WallClock(), "two")
    other.configure({"acme": [4, 5]})
    sink.write("acme", of((1, 5, 1.0), (3, 5, 3.0)))
    other.write("acme", of((4, 5, 4.0), (5, 4, 5.0)))
    sink.write("acme", of((2, 4, 2.0)))
    assert hot.latest(client, "acme", [1, 2, 3, 4, 5])["value"].tolist() == [1, 2, 3, 4, 5]
    other.configure({"acme": [1, 4, 5]})  # it takes over a tag: what Redis has of it is newer than nothing
    other.write("acme", of((1, 9, 0.5)))
    assert hot.latest(client, "acme", [1])["value"].tolist() == [1.0]
    other.close()


def test_keys_live_as_long_as_the_platforms_clock_takes(hot_settings: Settings, client: redis.Redis) -> None:
    wall = time.time_ns() // 1000
    clock = ScaledClock(wall - 30 * 24 * hot.HOUR_US, wall, 60.0)
    sink = HotSink(hot_settings, clock, "one")
    sink.configure({"acme": [1]})
    now = clock.micros()
    sink.write("acme", pack([now], 1.0, 1, GOOD))
    assert 24 * 60 < int(client.ttl(hot.open_key(0, now // hot.HOUR_US))) <= 26 * 60
    near = ScaledClock(wall - hot.HOUR_US, wall, 60.0)  # meets the machine's clock in a minute
    ahead = seconds_until(near, wall + 24 * hot.HOUR_US)
    assert 24 * 3600 - 60 < ahead <= 24 * 3600
    sink.close()


def test_the_same_tags_again_cost_no_exchange(sink: HotSink, client: redis.Redis) -> None:
    sink.write("acme", of((1, 5, 1.0)))
    sink.configure({"acme": [3, 2, 1], "beta": [9]})
    client.config_resetstat()
    sink.write("acme", of((1, 4, 1.0)))
    assert client.info("commandstats")["cmdstat_get"]["calls"] == 1  # the mark alone


def test_messages_are_numbered_and_whole(sink: HotSink, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(hot.channel("acme"))
        subscriber.get_message(timeout=60)
        batch = of((3, 1, 1.0), (1, 2, 2.0), (3, 9, 3.0))
        sink.write("acme", batch)
        sink.write("acme", np.tile(batch, 10_000))
        parts = []
        for sequence in (1, 2, 3):
            raw = subscriber.get_message(timeout=60)
            assert raw is not None
            message = hot.decode_message(raw["data"])
            assert message.sequence == sequence
            parts.append(message.readings)
        assert len(parts[0]) == 3
        assert np.concatenate(parts).tobytes() == np.tile(batch, 10_001).tobytes()


def test_redis_killed_is_an_error_and_then_works_again(own_redis: RunningServer) -> None:
    made = HotSink(load_settings(redis_url=own_redis.url), WallClock(), "one")
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
