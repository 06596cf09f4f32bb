"""One truth, split at random over the tiers: the answer is the truth, whatever the split."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

import numpy as np
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from streaming.sinks.hot import HotSink
from tests.querying import (
    archive,
    assert_seams,
    drop,
    expected_buckets,
    expected_raw,
    insert,
    plain,
    restore,
    same,
    wandering,
    watch,
)
from tests.seed import add_tags, at
from wellos.clock import to_micros
from wellos.query.reader import Reader
from wellos.readings import empty
from wellos.settings import load_settings
from wellos.storage.cold.opening import open_cold
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from tests.bigquery_double import Double
    from wellos.embedded.server import RunningServer
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

DAYS = 6
SPOOL = UUID(int=7)
_DAY_US = 86_400_000_000
_ALL = ("GOOD", "UNCERTAIN", "BAD")
_WIDTHS = {"raw": "", "15s": "15s", "5min": "5m", "1hour": "1h", "1day": "1d", "1week": "1w"}
_BEAT = """
INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at) VALUES (%(id)s, 'h', 1, %(at)s, %(at)s)
ON CONFLICT (spool_id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at
"""
_number = count()
_minute = st.integers(0, DAYS * 1440)
_reads = st.lists(
    st.tuples(st.sampled_from([*_WIDTHS]), st.tuples(_minute, _minute).filter(lambda pair: pair[0] != pair[1])),
    min_size=3,
    max_size=6,
)
_states = st.lists(st.sampled_from(["warm", "dropped", "late", "restored"]), min_size=DAYS - 1, max_size=DAYS - 1)


def best(base: Readings, late: Readings) -> Readings:
    """One reading a tag and time, by the rule in words: the better quality, then what came later."""
    kept: dict[tuple[int, int], np.void] = {}
    for row in np.concatenate([base, late]):
        key = (int(row["tag_id"]), int(row["time"]))
        if key not in kept or row["quality"] >= kept[key]["quality"]:
            kept[key] = row
    return np.array(list(kept.values()), base.dtype)


def late_for(rows: Readings, seed: int) -> Readings:
    """Readings that come for a dropped day: some for times that it has, of any quality, and some of their own."""
    late = rows[::7].copy()
    late["value"] += 0.25
    late["quality"] = np.random.default_rng(seed).integers(0, 3, len(late))
    late["time"][::2] += 1_000_000
    return late


def split(
    db: PgConnection, store: ColdStore, slug: str, start: datetime, states: list[str], tags: list[int]
) -> Readings:
    """Put a truth into the tiers as `states` says of each day but the last; return it."""
    base = wandering(tags, start, DAYS * 96, 900, seed=len(states))
    insert(db, base)
    days = [(start + timedelta(days=number)).date() for number in range(DAYS)]
    watch(db, *days)
    db.execute("CALL refresh_aggregates()")
    late = [empty()]
    for number, (day, state) in enumerate(zip(days, states, strict=False)):
        rows = base[(base["time"] - to_micros(start)) // _DAY_US == number]
        if state != "warm":
            archive(db, store, slug, day, rows)
            drop(db, day)
        if state == "restored":
            restore(db, day, rows)
        if state == "late":
            late.append(late_for(rows, number))
            insert(db, late[-1])
    db.execute("CALL refresh_aggregates()")
    return best(base, np.concatenate(late))


def fill(made: Settings, truth: Readings, now: datetime) -> None:
    """Have the last hours in a Redis that was empty, written by an ingest that lives."""
    with redis.Redis.from_url(made.redis_url.get_secret_value()) as client:  # type: ignore[union-attr]
        client.flushall()
    with connect(made, autocommit=True) as db:
        db.execute(_BEAT, {"id": SPOOL, "at": now})
    sink = HotSink(made, made.make_clock(), str(SPOOL))
    sink.write("acme", truth[truth["time"] >= to_micros(now - timedelta(hours=made.hot_hours))])
    sink.mark(filled=True, at=to_micros(now))
    sink.close()


@pytest.mark.parametrize("cold", ["parquet", "bigquery"])
@given(states=_states, reads=_reads)
@settings(max_examples=4)
def test_the_answer_is_the_truth(
    module_database_url: str,
    redis_server: RunningServer,
    bigquery_server: Double,
    tmp_path_factory: pytest.TempPathFactory,
    cold: str,
    states: list[str],
    reads: list[tuple[str, tuple[int, int]]],
) -> None:
    number = next(_number)
    start = at("2025-06-01") + timedelta(days=14 * number)
    now = start + timedelta(days=DAYS) - timedelta(seconds=1)
    made = load_settings(
        database_url=module_database_url,
        redis_url=redis_server.url,
        data_dir=tmp_path_factory.getbasetemp() / "any_split",  # one database has one archive
        clock=f"{now:%Y-%m-%dT%H:%M:%SZ}@{now:%Y-%m-%dT%H:%M:%SZ}*0.000001",
        hot_hours=9,
        **(
            {"bigquery_project": "any-split", "bigquery_endpoint": bigquery_server.address}
            if cold == "bigquery"
            else {}
        ),
    )
    with connect(made, autocommit=True) as db, Reader(made) as reader:
        tags = add_tags(db, 2, f"t{number}")
        names = dict(zip(tags, ("tag_1", "tag_2"), strict=True))
        store = open_cold(made)
        truth = split(db, store, f"t{number}", start, states, tags)
        store.close()
        fill(made, truth, now)
        for interval, minutes in reads:
            span = (start + timedelta(minutes=min(minutes)), start + timedelta(minutes=max(minutes)))
            for _ in range(2):  # the second time from the cache
                verify(reader, f"t{number}", truth, names, span, interval, states)


def verify(
    reader: Reader,
    slug: str,
    truth: Readings,
    names: dict[int, str],
    span: tuple[datetime, datetime],
    interval: str,
    states: list[str],
) -> None:
    found = reader.readings(slug, "PB-001", None, *span, interval, _ALL if interval == "raw" else None)
    first, last = found.provenance.parts[0].start, max(part.end for part in found.provenance.parts)
    assert first <= span[0] < span[1] <= last
    assert_seams(found, first, last)
    if interval != "raw":
        same(found.frame, expected_buckets(truth, names, first, last, _WIDTHS[interval]))
        return
    assert (first, last) == span
    assert_frame_equal(plain(found.frame), expected_raw(truth, names, *span, _ALL))
    start = at("2025-06-01") + (span[0] - at("2025-06-01")) // timedelta(days=14) * timedelta(days=14)
    touched = {(span[0] - start).days + number for number in range((span[1] - span[0]).days + 2)}
    within = {number for number in touched if start + timedelta(days=number) < span[1]}
    gone = any(states[number] in {"dropped", "late"} for number in within if number < len(states))
    assert ("cold" in found.provenance.tiers) == gone
    if span[1] > start + timedelta(days=DAYS) - timedelta(hours=8):
        assert found.provenance.tiers[-1] == "hot"
