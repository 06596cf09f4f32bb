"""The cache serves closed days without their being read, and never what was before a change; fetched once for all."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import polars as pl
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.querying import assert_seams, expected_buckets, expected_raw, insert, plain, same, wandering, watch
from tests.seed import add_tags, at
from wellos.clock import WallClock, to_micros
from wellos.quality import Quality
from wellos.query.cache import PART_PREFIX, STATS_KEY, Cache
from wellos.query.reader import Reader
from wellos.query.redis_link import RedisLink
from wellos.readings import pack
from wellos.settings import Settings, load_settings
from wellos.storage.merge import begin_merge, merge_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.embedded.server import RunningServer
    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

FROM = at("2026-09-01")
DAYS = 12
TO = FROM + timedelta(days=DAYS)
WHOLE = ("acme", "PB-001", None)


@pytest.fixture
def cached(db: PgConnection, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[tuple[Reader, Readings]]:
    """Twelve closed days of two tags, watched and refreshed, and a reader with an empty cache."""
    truth = wandering(add_tags(db, 2), FROM, DAYS * 24, 3600)
    db.execute("UPDATE tags SET interval_s = 3600")
    insert(db, truth)
    watch(db, *(FROM.date() + timedelta(days=number) for number in range(-1, DAYS + 40)))
    db.execute("CALL refresh_aggregates()")
    with Reader(load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)) as reader:
        yield reader, truth


NAMES = {1: "tag_1", 2: "tag_2"}


@pytest.mark.parametrize(("interval", "every"), [("raw", None), ("1min", "1m"), ("1hour", "1h"), ("1day", "1d")])
def test_the_second_read_is_a_hit(cached: tuple[Reader, Readings], interval: str, every: str | None) -> None:
    reader, truth = cached
    first = reader.readings(*WHOLE, FROM, TO, interval)
    again = reader.readings(*WHOLE, FROM, TO, interval)
    assert not first.provenance.cache_hit
    assert all(part.cacheable for part in first.provenance.parts)
    assert again.provenance.cache_hit
    assert_frame_equal(first.frame, again.frame)
    if every is None:
        assert_frame_equal(plain(again.frame), expected_raw(truth, NAMES, FROM, TO))
    else:
        same(again.frame, expected_buckets(truth, NAMES, FROM, TO, every))
    assert_seams(again, FROM, TO)


def test_part_of_a_block_is_served_from_it(cached: tuple[Reader, Readings]) -> None:
    reader, truth = cached
    reader.readings(*WHOLE, FROM, TO, "raw")
    span = (FROM + timedelta(days=1, hours=5), FROM + timedelta(days=4, hours=7))
    found = reader.readings(*WHOLE, *span, "raw")
    assert found.provenance.cache_hit
    assert_frame_equal(plain(found.frame), expected_raw(truth, NAMES, *span))
    assert_seams(found, *span)


def test_a_late_reading_costs_its_day_alone(cached: tuple[Reader, Readings], db: PgConnection) -> None:
    reader, truth = cached
    span = (FROM, TO)
    for interval in ("raw", "5min"):
        reader.readings(*WHOLE, *span, interval)
    moment = FROM + timedelta(days=5, hours=3, minutes=7)
    late = pack([to_micros(moment)], 7.0, 1, Quality.GOOD)
    insert(db, late)
    whole = np.concatenate([truth, late])
    found = reader.readings(*WHOLE, *span, "raw")
    assert_frame_equal(plain(found.frame), expected_raw(whole, NAMES, *span))
    assert [part.cached for part in found.provenance.parts] == [True, False, True]
    assert found.provenance.parts[1].start == FROM + timedelta(days=5)
    # until it is refreshed, the day's buckets are read anew each time, and the watermark says so
    for _ in range(2):
        found = reader.readings(*WHOLE, *span, "5min")
        assert [part.cacheable for part in found.provenance.parts] == [True, False, True]
        assert FROM + timedelta(days=5) < found.provenance.watermark <= moment
    db.execute("CALL refresh_aggregates()")
    for hit in (False, True):
        found = reader.readings(*WHOLE, *span, "5min")
        same(found.frame, expected_buckets(whole, NAMES, *span, "5m"))
        assert found.provenance.cache_hit == hit


def test_days_that_nobody_watches_are_not_cached(cached: tuple[Reader, Readings], db: PgConnection) -> None:
    reader, _ = cached
    db.execute("DELETE FROM reading_days WHERE day < %s", (FROM.date() + timedelta(days=2),))
    for _ in range(2):
        found = reader.readings(*WHOLE, FROM, FROM + timedelta(days=2), "raw")
        assert not found.provenance.cache_hit
        assert not any(part.cacheable for part in found.provenance.parts)


def test_today_is_not_cached(cached: tuple[Reader, Readings], db: PgConnection) -> None:
    reader, _ = cached
    today = WallClock().now().replace(hour=0, minute=0, second=0, microsecond=0)
    watch(db, today.date())
    insert(db, pack([to_micros(today)], 1.0, 1, Quality.GOOD))
    for _ in range(2):
        found = reader.readings(*WHOLE, today, today + timedelta(days=1), "raw")
        assert len(found.frame) == 1
        assert not found.provenance.parts[-1].cacheable


def test_hits_and_misses_are_counted(cached: tuple[Reader, Readings], redis_url: str) -> None:
    reader, _ = cached
    for _ in range(3):
        reader.readings(*WHOLE, FROM, FROM + timedelta(days=3), "raw")
    reader.close()
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        assert client.hgetall(STATS_KEY) == {"hits": "6", "misses": "3"}
        assert not client.keys("wellos:cache:lock:*")
        assert all(0 < client.ttl(key) <= 300 for key in client.keys(PART_PREFIX + "*"))


def test_an_entry_that_is_none_is_read_anew(
    cached: tuple[Reader, Readings], database_url: str, redis_url: str, tmp_path: Path
) -> None:
    reader, truth = cached
    reader.readings(*WHOLE, FROM, TO, "raw")
    with redis.Redis.from_url(redis_url) as client:
        for key in client.keys(PART_PREFIX + "*"):
            client.set(key, b"nonsense")
    with Reader(load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)) as other:
        found = other.readings(*WHOLE, FROM, TO, "raw")
        assert not found.provenance.cache_hit
        assert_frame_equal(plain(found.frame), expected_raw(truth, NAMES, FROM, TO))
        assert other.readings(*WHOLE, FROM, TO, "raw").provenance.cache_hit


def test_what_one_process_read_is_a_hit_for_another(
    cached: tuple[Reader, Readings], database_url: str, redis_url: str, tmp_path: Path
) -> None:
    reader, truth = cached
    reader.readings(*WHOLE, FROM, TO, "raw")
    with Reader(load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)) as other:
        found = other.readings(*WHOLE, FROM, TO, "raw")
    assert found.provenance.cache_hit
    assert_frame_equal(plain(found.frame), expected_raw(truth, NAMES, FROM, TO))


def test_other_tags_and_tenants_have_other_entries(cached: tuple[Reader, Readings], db: PgConnection) -> None:
    reader, _ = cached
    add_tags(db, 1, "other")
    reader.readings(*WHOLE, FROM, TO, "1hour")
    one = reader.readings("acme", "PB-001", "tag_1", FROM, TO, "1hour")
    assert not one.provenance.cache_hit
    assert one.frame["tag"].unique().cast(pl.String).to_list() == ["tag_1"]
    assert reader.readings("other", "PB-001", None, FROM, TO, "1hour").frame.is_empty()


def test_without_redis_everything_answers(
    db: PgConnection, database_url: str, own_redis: RunningServer, tmp_path: Path
) -> None:
    truth = wandering(add_tags(db, 2), FROM, DAYS * 24, 3600)
    insert(db, truth)
    watch(db, *(FROM.date() + timedelta(days=number) for number in range(DAYS)))
    expected = expected_raw(truth, NAMES, FROM, TO)
    url = own_redis.url
    with Reader(load_settings(database_url=database_url, redis_url=url, data_dir=tmp_path)) as reader:
        reader.readings(*WHOLE, FROM, TO, "raw", limit=10)
        assert_frame_equal(
            plain(reader.readings(*WHOLE, FROM, TO, "1hour").frame.select("time")), expected_hours(truth)
        )
        own_redis.stop()
        for _ in range(2):
            found = reader.readings("acme", "PB-001", None, FROM, FROM + timedelta(days=4), "raw")
            assert not found.provenance.cache_hit
            assert_frame_equal(plain(found.frame), expected.filter(pl.col("time") < FROM + timedelta(days=4)))
    with Reader(load_settings(database_url=database_url, data_dir=tmp_path)) as reader:
        assert len(reader.readings(*WHOLE, FROM, FROM + timedelta(days=4), "raw").frame) == len(found.frame)


def expected_hours(truth: Readings) -> pl.DataFrame:
    return expected_buckets(truth, NAMES, FROM, TO, "1h").select("time")


def test_no_cache_when_its_time_is_zero(
    cached: tuple[Reader, Readings], database_url: str, redis_url: str, tmp_path: Path
) -> None:
    assert cached
    off = load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path, cache_s=0)
    with Reader(off) as reader, redis.Redis.from_url(redis_url) as client:
        for _ in range(2):
            found = reader.readings(*WHOLE, FROM, FROM + timedelta(days=1), "raw")
            assert not any(part.cacheable for part in found.provenance.parts)
        assert not client.keys("wellos:cache:*")


def _cache(redis_url: str | None) -> Cache:
    made = Settings(redis_url=redis_url) if redis_url else Settings()
    return Cache(RedisLink(made, WallClock()), WallClock(), 300)


FRAME = pl.DataFrame({"time": [1, 2]})


@pytest.mark.parametrize("with_redis", [True, False])
def test_threads_fetch_once(redis_url: str, *, with_redis: bool) -> None:
    cache = _cache(redis_url if with_redis else None)
    first = cache.claim(["a", "b"])
    second = cache.claim(["b", "c"])
    assert (set(first.mine), set(second.mine), set(second.theirs)) == ({"a", "b"}, {"c"}, {"b"})
    found: list[dict[str, pl.DataFrame]] = []
    waiting = threading.Thread(target=lambda: found.append(cache.wait(second)))
    waiting.start()
    cache.land(first, {"a": FRAME, "b": FRAME})
    waiting.join(60)
    cache.settle(first)
    cache.settle(second)
    assert found[0].keys() == {"b"}
    assert set(cache.claim(["c"]).mine) == {"c"}


def test_processes_fetch_once(redis_url: str) -> None:
    here, there = _cache(redis_url), _cache(redis_url)
    first, second = here.claim(["a"]), there.claim(["a", "b"])
    assert (set(first.mine), set(second.mine), set(second.remote)) == ({"a"}, {"b"}, {"a"})
    found: list[dict[str, pl.DataFrame]] = []
    waiting = threading.Thread(target=lambda: found.append(there.wait(second)))
    waiting.start()
    here.land(first, {"a": FRAME})
    here.settle(first)
    waiting.join(60)
    there.settle(second)
    assert found[0].keys() == {"a"}
    assert here.get(["a"]).keys() == {"a"}


def test_what_does_not_land_is_left_to_those_who_wait(redis_url: str) -> None:
    here, there = _cache(redis_url), _cache(redis_url)
    first, local, remote = here.claim(["a"]), here.claim(["a"]), there.claim(["a"])
    here.settle(first)
    assert here.wait(local) == {}
    assert there.wait(remote) == {}
    here.settle(local)
    there.settle(remote)
    assert set(there.claim(["a"]).mine) == {"a"}


_moments = st.integers(0, 6 * 1440 - 1)
_steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("write"),
            st.lists(st.tuples(_moments, st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=5),
        ),
        st.tuples(
            st.just("read"), st.tuples(st.sampled_from(["raw", "15s", "5min", "1hour", "1day"]), _moments, _moments)
        ),
        st.tuples(st.just("refresh"), st.none()),
        st.tuples(st.just("watch"), st.integers(0, 5)),
    ),
    min_size=6,
    max_size=20,
)


@given(steps=_steps)
@settings(max_examples=12)
def test_a_hit_is_never_stale(
    module_database_url: str,
    redis_server: RunningServer,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, Any]],
) -> None:
    data = tmp_path_factory.mktemp("data")
    kept = load_settings(database_url=module_database_url, redis_url=redis_server.url, data_dir=data)
    fresh = load_settings(database_url=module_database_url, data_dir=data, cache_s=0)
    with connect(kept, autocommit=True) as db, Reader(kept) as cached, Reader(fresh) as direct:
        slug = f"t{db.execute('SELECT count(*) FROM tenants').fetchone()[0]}"  # type: ignore[index]
        tags = add_tags(db, 2, slug)
        for number, (step, detail) in enumerate(steps):
            match step:
                case "write":
                    keys = {(minute, tag): quality for minute, tag, quality in detail}
                    rows = pack(
                        [to_micros(FROM + timedelta(minutes=minute)) for minute, _ in keys],
                        float(number),
                        [tags[tag] for _, tag in keys],
                        list(keys.values()),
                    )
                    _store(db, rows)
                case "read":
                    interval, one, other = detail
                    span = (FROM + timedelta(minutes=min(one, other)), FROM + timedelta(minutes=max(one, other) + 1))
                    everything = ["GOOD", "UNCERTAIN", "BAD"] if interval == "raw" else None
                    for _ in range(2):
                        found = cached.readings(slug, "PB-001", None, *span, interval, everything)
                        expected = direct.readings(slug, "PB-001", None, *span, interval, everything)
                        assert_frame_equal(found.frame, expected.frame)
                        assert found.provenance.watermark <= expected.provenance.watermark
                case "refresh":
                    db.execute("CALL refresh_aggregates()")
                case "watch":
                    watch(db, FROM.date() + timedelta(days=detail))


def _store(db: PgConnection, rows: Readings) -> None:
    days = np.unique(rows["time"] // 86_400_000_000).astype("datetime64[D]").tolist()
    db.execute("SELECT ensure_readings_partitions(%s)", (days,))
    with db.transaction(), db.cursor() as cursor:
        begin_merge(cursor)
        merge_readings(cursor, rows, uuid4(), np.arange(len(rows)))
        cursor.execute("SELECT note_readings_changed(%s)", (days,))
