"""A dropped day whose copy is proven no more is an error, never a hole; once it is put back, it is read as before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from polars.testing import assert_frame_equal

from tests.querying import archive, drop, expected_buckets, expected_raw, insert, plain, same, wandering, watch
from tests.seed import add_tags, at
from wellos.archive.archiving import archive_day
from wellos.archive.recheck import RecheckError, recheck
from wellos.clock import to_micros
from wellos.quality import Quality
from wellos.query.reader import Reader
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.cold import DamagedCopyError
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault

FROM = at("2026-09-01")
TO = FROM + timedelta(days=3)
NEXT = FROM + timedelta(days=1)
MIDDLE = NEXT.date()
WHOLE = ("acme", "PB-001", None)
NAMES = {1: "tag_1", 2: "tag_2"}
_DAY_US = 86_400_000_000


@pytest.fixture(params=["parquet", "bigquery"])
def settings(request: pytest.FixtureRequest, database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    named = load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path)
    if request.param == "parquet":
        return named
    bigquery: Settings = request.getfixturevalue("bigquery_settings")
    return bigquery.model_copy(update=named.model_dump(include={"database_url", "redis_url", "data_dir"}))


@pytest.fixture
def store(settings: Settings) -> Iterator[ColdStore]:
    made = open_cold(settings)
    yield made
    made.close()


@pytest.fixture
def truth(db: PgConnection, settings: Settings, store: ColdStore) -> Readings:
    """Three days of two tags, watched and refreshed; the one in the middle is archived and dropped."""
    found = wandering(add_tags(db, 2), FROM, 3 * 24, 3600)
    insert(db, found)
    watch(db, *(FROM.date() + timedelta(days=number) for number in range(3)))
    db.execute("CALL refresh_aggregates()")
    archive_day(settings, store, "acme", MIDDLE)
    drop(db, MIDDLE)
    return found


@pytest.fixture
def reader(settings: Settings) -> Iterator[Reader]:
    with Reader(settings) as made:
        yield made


def middle(truth: Readings) -> Readings:
    rows: Readings = truth[(truth["time"] - to_micros(FROM)) // _DAY_US == 1]
    ordered: Readings = rows[np.lexsort((rows["time"], rows["tag_id"]))]
    return ordered


@pytest.mark.parametrize("fault", ["missing", "other rows"])
def test_no_answer_without_the_readings_of_a_lost_copy(
    db: PgConnection, reader: Reader, truth: Readings, settings: Settings, store: ColdStore, fault: str
) -> None:
    expected = expected_raw(truth, NAMES, FROM, TO)
    assert_frame_equal(plain(reader.readings(*WHOLE, FROM, TO, "raw").frame), expected)
    if fault == "missing":
        store.quarantine("acme", MIDDLE)
    else:
        store.write("acme", MIDDLE, [middle(truth)[:-5]], "by somebody else")
    with pytest.raises(RecheckError):
        recheck(settings, store)

    named = rf"2026-09-02 of acme was archived in {store.name}, 48 readings, .*backup.*wellos archive --verify"
    for span in ((FROM, TO), (NEXT + timedelta(hours=2), NEXT + timedelta(hours=3))):
        with pytest.raises(DamagedCopyError, match=named):
            reader.readings(*WHOLE, *span, "raw")
    with pytest.raises(DamagedCopyError, match=named):
        reader.readings(*WHOLE, FROM, TO, "raw", limit=100)
    assert_frame_equal(plain(reader.readings(*WHOLE, FROM, NEXT, "raw").frame), expected_raw(truth, NAMES, FROM, NEXT))
    same(reader.readings(*WHOLE, FROM, TO, "1hour").frame, expected_buckets(truth, NAMES, FROM, TO, "1h"))
    add_tags(db, 1, "newcomer")
    assert reader.readings("newcomer", "PB-001", None, FROM, TO, "raw").frame.is_empty()

    store.write("acme", MIDDLE, [middle(truth)], "from the backup")
    (checked,) = recheck(settings, store)
    assert checked.outcome == "recovered"
    for _ in range(2):
        assert_frame_equal(plain(reader.readings(*WHOLE, FROM, TO, "raw").frame), expected)


@pytest.mark.parametrize("proven", [True, False])
def test_no_buckets_of_a_day_that_readings_came_for(
    db: PgConnection, reader: Reader, truth: Readings, settings: Settings, store: ColdStore, *, proven: bool
) -> None:
    assert len(truth)
    insert(db, pack([to_micros(NEXT) + 7], 1.0, 1, Quality.GOOD))
    store.quarantine("acme", MIDDLE)
    if not proven:
        with pytest.raises(RecheckError):
            recheck(settings, store)
    for interval in ("5min", "1hour", "1day", "1week", "1month"):
        with pytest.raises(DamagedCopyError, match="2026-09-02"):
            reader.readings(*WHOLE, FROM, TO, interval)


def test_a_lost_copy_concerns_its_day_alone(
    db: PgConnection, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    """Also where the cache would hold more days than were asked for in one block."""
    eight = timedelta(days=8)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    start = epoch + (FROM - epoch) // eight * eight
    made = load_settings(database_url=database_url, redis_url=redis_url, data_dir=tmp_path, aggregate_days=5)
    days = [(start + timedelta(days=number)).date() for number in range(8)]
    truth = wandering(add_tags(db, 2), start, 8 * 24, 3600)
    insert(db, truth)
    watch(db, *days)
    store = open_cold(made)
    for number, day in enumerate(days):
        archive(db, store, "acme", day, truth[(truth["time"] - to_micros(start)) // _DAY_US == number])
        drop(db, day)
    store.quarantine("acme", days[6])
    store.close()
    until = start + timedelta(days=2)
    with Reader(made) as reader:
        found = reader.readings(*WHOLE, start, until, "1hour")
        with pytest.raises(DamagedCopyError, match=str(days[6])):
            reader.readings(*WHOLE, start, start + eight, "1hour")
    same(found.frame, expected_buckets(truth, NAMES, start, until, "1h"))
