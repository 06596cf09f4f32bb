"""The last hours come from Redis where it has them all; at the least doubt from the warm tier, with the same answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np
import pytest
import redis
from polars.testing import assert_frame_equal

from streaming.sinks.hot import HotSink
from tests.querying import assert_seams, expected_raw, insert, plain, same, wandering
from tests.seed import add_tags
from wellos.clock import WallClock, to_micros
from wellos.quality import Quality
from wellos.query.reader import Reader
from wellos.readings import pack
from wellos.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

WHOLE = ("acme", "PB-001", None)
NAMES = {1: "tag_1", 2: "tag_2"}
SPOOL = UUID(int=1)
_ALL = ("GOOD", "UNCERTAIN", "BAD")
_BEAT = """
INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at) VALUES (%s, 'h', 1, now(), now())
"""

_LEDGER = """
INSERT INTO ingest_ledger (spool_id, seq, connection_id, received, quarantined, duplicates, shed, rows, stored,
                           received_at, committed_at, newest_day)
VALUES (%s, 1, 1, 1, 0, 0, 0, 1, 1, now(), now() + interval '1 hour', now() AT TIME ZONE 'UTC')
"""


@pytest.fixture
def settings(redis_url: str, database_url: str, tmp_path: Path) -> Settings:
    return load_settings(redis_url=redis_url, database_url=database_url, data_dir=tmp_path, hot_hours=6)


@pytest.fixture
def sink(settings: Settings) -> Iterator[HotSink]:
    made = HotSink(settings, WallClock(), str(SPOOL))
    made.configure({"acme": [1, 2]})
    yield made
    made.close()


@pytest.fixture
def stored(db: PgConnection, settings: Settings, sink: HotSink) -> Iterator[tuple[Reader, Readings, datetime]]:
    """Twenty hours of two tags in the database, the last six of them in Redis, whose ingest lives and is filled."""
    assert add_tags(db, 2) == [1, 2]
    db.execute("UPDATE tags SET interval_s = 600")
    db.execute(_BEAT, (SPOOL,))
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    truth = wandering([1, 2], now - timedelta(hours=20), 120, 600)
    insert(db, truth)
    sink.write("acme", truth[truth["time"] >= to_micros(now - timedelta(hours=6))])
    sink.mark(filled=True, at=to_micros(now) + 60_000_000)
    with Reader(settings) as reader:
        yield reader, truth, now


def tiers(reader: Reader, truth: Readings, start: datetime, end: datetime) -> tuple[str, ...]:
    found = reader.readings(*WHOLE, start, end, "raw")
    assert_frame_equal(plain(found.frame), expected_raw(truth, NAMES, start, end))
    assert_seams(found, start, end)
    return found.provenance.tiers


def test_the_last_hours_are_hot_and_the_rest_is_warm(stored: tuple[Reader, Readings, datetime]) -> None:
    reader, truth, now = stored
    assert tiers(reader, truth, now - timedelta(hours=5), now) == ("hot",)
    assert tiers(reader, truth, now - timedelta(hours=18), now - timedelta(hours=8)) == ("warm",)
    assert tiers(reader, truth, now - timedelta(hours=18), now) == ("warm", "hot")


def test_what_redis_has_before_the_database(stored: tuple[Reader, Readings, datetime], sink: HotSink) -> None:
    reader, truth, now = stored
    fresh = pack([to_micros(now)], 5.0, 1, Quality.GOOD)
    sink.write("acme", fresh)
    assert tiers(reader, np.concatenate([truth, fresh]), now - timedelta(hours=5), now + timedelta(minutes=1)) == (
        "hot",
    )


def test_fifteen_seconds(stored: tuple[Reader, Readings, datetime]) -> None:
    reader, truth, now = stored
    span = (now - timedelta(hours=1), now)
    found = reader.readings(*WHOLE, *span, "15s")
    assert found.provenance.tiers == ("hot",)
    assert found.frame["n"].sum() == len(expected_raw(truth, NAMES, *span, ("GOOD", "UNCERTAIN", "BAD")))


@pytest.mark.parametrize(
    "doubt",
    ["no mark", "missed", "nobody", "silent", "stopped", "another died", "behind", "another wrote", "Redis away"],
)
def test_at_the_least_doubt_it_is_warm(
    stored: tuple[Reader, Readings, datetime], db: PgConnection, sink: HotSink, redis_url: str, doubt: str
) -> None:
    reader, truth, now = stored
    late = pack([to_micros(now) - 1], 5.0, 1, Quality.GOOD)
    match doubt:
        case "no mark":
            sink.mark(filled=False)
        case "missed":  # something before this batch did not get to Redis
            lost = pack([to_micros(now) - 2], 4.0, 1, Quality.GOOD)
            insert(db, lost)
            insert(db, late)
            sink.write("acme", late, complete=False)
            truth = np.concatenate([truth, lost, late])
        case "nobody":
            db.execute("DELETE FROM ingest_instances")
        case "silent":
            db.execute("UPDATE ingest_instances SET heartbeat_at = now() - interval '5 minutes'")
        case "stopped":
            db.execute("UPDATE ingest_instances SET stopped_at = now()")
        case "another died":
            db.execute(_BEAT, (uuid4(),))
            db.execute(
                "UPDATE ingest_instances SET heartbeat_at = now() - interval '2 hours' WHERE spool_id <> %s", (SPOOL,)
            )
        case "behind":
            insert(db, late)
            truth = np.concatenate([truth, late])
        case "another wrote":  # not through ingest, and after Redis was filled
            early = pack([to_micros(now - timedelta(hours=1)) + 7], 4.0, 1, Quality.GOOD)
            insert(db, early)
            truth = np.concatenate([truth, early])
            db.execute(_LEDGER, (uuid4(),))
        case "Redis away":
            with redis.Redis.from_url(redis_url) as client:
                client.flushall()
    assert tiers(reader, truth, now - timedelta(hours=5), now) == ("warm",)


def test_latest(stored: tuple[Reader, Readings, datetime], db: PgConnection, sink: HotSink) -> None:
    reader, truth, now = stored
    newest = np.concatenate([truth[truth["tag_id"] == tag][-1:] for tag in (1, 2)])
    expected = expected_raw(newest, NAMES, now - timedelta(days=2), now, ("GOOD", "UNCERTAIN", "BAD"))
    hot = reader.latest(*WHOLE)
    assert hot.provenance.tiers == ("hot",)
    assert_frame_equal(plain(hot.frame), expected)
    sink.mark(filled=False)
    warm = reader.latest("acme", "PB-001", ["tag_1", "tag_2"])
    assert warm.provenance.tiers == ("warm",)
    same(warm.frame, expected)
    assert add_tags(db, 1, "other")
    assert reader.latest("other", "PB-001").frame.is_empty()


@pytest.mark.parametrize("doubt", ["behind", "another wrote"])
def test_latest_at_the_least_doubt(
    stored: tuple[Reader, Readings, datetime], db: PgConnection, sink: HotSink, doubt: str
) -> None:
    """An import, or what came back from quarantine, is stored past ingest: Redis does not know of it."""
    reader, truth, now = stored
    late = pack([to_micros(now) - 1], 5.0, 1, Quality.GOOD)
    other = truth[truth["tag_id"] == 2][-1:]
    if doubt == "behind":
        insert(db, late)
    else:  # of the same time as the latest that Redis has, the better quality
        sink.write("acme", pack([to_micros(now) - 1], 4.0, 1, Quality.BAD))
        insert(db, late)
        db.execute(_LEDGER, (uuid4(),))
    expected = expected_raw(np.concatenate([late, other]), NAMES, now - timedelta(days=2), now, _ALL)
    found = reader.latest(*WHOLE)
    assert_frame_equal(plain(found.frame), expected)
    assert found.provenance.tiers == (("hot", "warm") if doubt == "behind" else ("warm",))
