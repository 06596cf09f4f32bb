"""Upkeep of the hot tier on a real Redis and database: what was lost comes back, strays go, the rest is counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import pytest
import redis

from tests.seed import add_readings, add_tags
from wellos.clock import WallClock, from_micros, to_micros
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage import hot
from wellos.storage.hot_pack import pack_hour
from wellos.storage.hot_records import encode_segments
from wellos.tiers.drift import drift
from wellos.tiers.hot import load_tags, look, rebuild, trim

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

CLOCK = WallClock()
HOUR = timedelta(hours=1)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as made:
        yield made


@pytest.fixture
def settings(redis_url: str, database_url: str, tmp_path: Path) -> Settings:
    return load_settings(redis_url=redis_url, database_url=database_url, data_dir=tmp_path, hot_hours=6)


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def append(client: redis.Redis, readings: Readings, ttl: int | None = 7200) -> None:
    ordered = readings[np.argsort(readings["tag_id"], kind="stable")]
    for group, hour, segment in encode_segments(ordered):
        client.append(hot.open_key(group, hour), segment)
        if ttl:
            client.expire(hot.open_key(group, hour), ttl)


def fill_warm(db: PgConnection, tags: list[int], hours: int = 4) -> Readings:
    start = this_hour() - hours * HOUR
    db.execute("SELECT ensure_readings_partitions(ARRAY[%s::date, %s::date])", [start, start + hours * HOUR])
    rows = [
        (start + timedelta(minutes=10 * k), tag, tag + k / 10 if k % 9 else float("nan"), 2 if k % 9 else 0)
        for tag in tags
        for k in range(6 * hours)
    ]
    add_readings(db, rows)
    times, ids, values, qualities = zip(*rows, strict=True)
    return pack([to_micros(time) for time in times], values, ids, qualities)


def test_hours_that_redis_lost_come_back_from_the_warm_tier(
    client: redis.Redis, db: PgConnection, settings: Settings
) -> None:
    tags = add_tags(db, 70)
    readings = fill_warm(db, tags)
    found = rebuild(client, db, settings, CLOCK)
    groups = len({tag // hot.GROUP for tag in tags})
    assert (found.hours, found.rows, found.left_to) == (4 * groups, len(readings), "")
    since, until = to_micros(this_hour() - 4 * HOUR), to_micros(this_hour())
    assert np.array_equal(
        hot.last_hours(client, tags, since, until)["value"], _ordered(readings)["value"], equal_nan=True
    )
    assert not drift(client, db, settings, CLOCK, "seed").wrong
    held = look(client)
    assert held.rows == len(readings)
    assert all(item.packed for item in held.hours)
    assert held.bytes > 0
    again = rebuild(client, db, settings, CLOCK)
    assert again.rows == 0
    assert all(0 < int(client.ttl(key)) < 9 * 3600 for key in client.scan_iter(match="scada:hour:*"))


def test_what_is_there_is_left_alone_and_what_differs_is_found(
    client: redis.Redis, db: PgConnection, settings: Settings
) -> None:
    tags = add_tags(db, 2)
    readings = fill_warm(db, tags)
    spoilt = readings.copy()
    spoilt["value"][3] += 1
    append(client, np.delete(spoilt, 5))
    assert rebuild(client, db, settings, CLOCK).rows == 0
    found = drift(client, db, settings, CLOCK, "seed")
    all_hours = [drift(client, db, settings, CLOCK, f"seed {k}") for k in range(8)]
    assert max(one.differing for one in all_hours) == 1
    assert max(one.only_warm for one in all_hours) == 1
    assert found.only_hot == 0
    assert found == drift(client, db, settings, CLOCK, "seed"), "the seed says what is looked at"


def test_what_waits_in_a_spool_is_no_drift(client: redis.Redis, db: PgConnection, settings: Settings) -> None:
    tags = add_tags(db, 2)
    fill_warm(db, tags)
    rebuild(client, db, settings, CLOCK)
    hour = this_hour() - HOUR
    append(client, pack(to_micros(hour) + np.array([1, 2]), [5.0, 6.0], tags[0], 2))
    seeds = [f"seed {k}" for k in range(8)]
    assert max(drift(client, db, settings, CLOCK, seed).only_hot for seed in seeds) == 2
    heartbeat(db, spooled=hour)
    found = [drift(client, db, settings, CLOCK, seed) for seed in seeds]
    assert max(one.waiting for one in found) == 2
    assert not any(one.only_hot for one in found)


def test_an_ingest_that_fills_redis_is_left_to_it(client: redis.Redis, db: PgConnection, settings: Settings) -> None:
    fill_warm(db, add_tags(db, 2))
    spool = heartbeat(db)
    found = rebuild(client, db, settings, CLOCK)
    assert (found.rows, spool in found.left_to) == (0, True)
    assert drift(client, db, settings, CLOCK, "seed").filling == spool
    client.set(hot.filled_key(spool), "1")
    assert rebuild(client, db, settings, CLOCK).rows == 48


def test_hours_beyond_the_window_and_marks_of_nobody_go(
    client: redis.Redis, db: PgConnection, settings: Settings
) -> None:
    tags = add_tags(db, 2)
    now = to_micros(this_hour())
    old = pack(now - 30 * hot.HOUR_US, 1.0, tags, 2)
    append(client, old, ttl=None)
    append(client, pack(now - 2 * hot.HOUR_US, 1.0, tags, 2), ttl=None)
    known = heartbeat(db)
    for name in (known, "gone"):
        client.set(hot.filled_key(name), "1")
    client.set("other", "stays")
    found = trim(client, db, settings, CLOCK)
    assert (found.hours, found.untimed, found.filled) == (1, 1, 1)
    assert {str(key, "utf-8") for key in client.scan_iter()} == {
        hot.open_key(tags[0] // hot.GROUP, now // hot.HOUR_US - 2),
        hot.filled_key(known),
        "other",
    }
    assert trim(client, db, settings, CLOCK).untimed == 0


def test_latest_readings_of_tags_retired_long_ago_go(client: redis.Redis, db: PgConnection, settings: Settings) -> None:
    tags = add_tags(db, 3)
    size = len(pack(1, 1.0, 1, 2).tobytes())
    for tag in tags:
        slot = pack(to_micros(this_hour()), 1.0, tag, 2).tobytes()
        client.setrange(hot.latest_key("acme", tag // hot.GROUP), tag % hot.GROUP * size, slot)
    db.execute("UPDATE tags SET retired_at = now() - interval '7 hours' WHERE tag_id = %s", [tags[0]])
    db.execute("UPDATE tags SET retired_at = now() - interval '5 hours' WHERE tag_id = %s", [tags[1]])
    assert trim(client, db, settings, CLOCK).latest == 1
    assert hot.latest(client, "acme", tags)["tag_id"].tolist() == tags[1:]
    assert trim(client, db, settings, CLOCK).latest == 0


def test_counting_needs_no_reading_to_be_sent(client: redis.Redis, db: PgConnection) -> None:
    tags = add_tags(db, 3, slug="acme")
    others = add_tags(db, 3, slug="beta")
    now = to_micros(this_hour())
    append(client, pack(now + np.arange(100), np.arange(100) / 3, tags[0], 2))
    append(client, pack(now, [1.0, float("nan"), 3.0], tags, [2, 0, 1]))
    append(client, pack(now + 5, 7.0, tags, 2))
    append(client, pack(now - hot.HOUR_US + np.arange(50), 1.5, tags[1], 2))
    assert pack_hour(client, tags[1] // hot.GROUP, now // hot.HOUR_US - 1, 600)
    held = look(client)
    assert sorted((item.packed, item.rows) for item in held.hours) == [(False, 106), (True, 50)]
    assert held.span == (now // hot.HOUR_US - 1, now // hot.HOUR_US)
    assert load_tags(db).shares(tags[0] // hot.GROUP) == pytest.approx({"acme": 0.5, "beta": 0.5})
    assert load_tags(db).groups() == {tags[0] // hot.GROUP: tags + others}


def heartbeat(db: PgConnection, *, spooled: datetime | None = None) -> str:
    spool = str(uuid4())
    db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time) "
        "VALUES (%s, 'here', 1, %s, %s, %s)",
        [spool, CLOCK.now(), CLOCK.now(), spooled],
    )
    return spool


def _ordered(readings: Readings) -> Readings:
    return readings[np.lexsort((readings["time"], readings["tag_id"]))]


def test_the_hours_of_the_tests_are_hours() -> None:
    assert from_micros(to_micros(this_hour()) // hot.HOUR_US * hot.HOUR_US) == this_hour()
