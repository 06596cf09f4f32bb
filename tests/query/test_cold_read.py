"""Dropped days: from the archive with what came since; moved under a query, damaged, elsewhere, never theirs."""

from __future__ import annotations

import contextlib
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from polars.testing import assert_frame_equal

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
from wellos.quality import Quality
from wellos.query.answer import MovedError
from wellos.query.reader import Reader
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.cold import ColdError, DamagedCopyError
from wellos.storage.cold.opening import open_cold
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

FROM = at("2026-09-01")
TO = FROM + timedelta(days=3)
MIDDLE = (FROM + timedelta(days=1)).date()
WHOLE = ("acme", "PB-001", None)
NAMES = {1: "tag_1", 2: "tag_2"}
_DAY_US = 86_400_000_000


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, data_dir=tmp_path)


@pytest.fixture
def truth(db: PgConnection, settings: Settings) -> Readings:
    """Three days of two tags, watched and refreshed; the one in the middle is archived."""
    found = wandering(add_tags(db, 2), FROM, 3 * 96, 900)
    insert(db, found)
    watch(db, *(FROM.date() + timedelta(days=number) for number in range(3)))
    db.execute("CALL refresh_aggregates()")
    store = open_cold(settings)
    archive(db, store, "acme", MIDDLE, middle(found))
    store.close()
    return found


@pytest.fixture
def reader(settings: Settings) -> Iterator[Reader]:
    with Reader(settings) as made:
        yield made


def middle(truth: Readings) -> Readings:
    rows: Readings = truth[(truth["time"] - to_micros(FROM)) // _DAY_US == 1]
    return rows


def test_what_it_says_of_a_dropped_day(db: PgConnection, reader: Reader, truth: Readings) -> None:
    drop(db, MIDDLE)
    late = pack([to_micros(FROM + timedelta(days=1, hours=5)) + 7], 1.0, 1, Quality.GOOD)
    insert(db, late)
    found = reader.readings(*WHOLE, FROM, TO, "raw")
    assert_frame_equal(plain(found.frame), expected_raw(np.concatenate([truth, late]), NAMES, FROM, TO))
    assert_seams(found, FROM, TO)
    parts = [(part.tier, part.relation, part.rows) for part in found.provenance.parts]
    assert parts == [
        ("warm", "readings", 192),
        ("cold", "parquet", 192),
        ("overlay", "readings", 1),
        ("warm", "readings", 192),
    ]
    assert found.provenance.tiers == ("warm", "cold", "overlay")
    assert found.provenance.bytes_scanned > 0


def test_buckets_outlive_their_readings(db: PgConnection, reader: Reader, truth: Readings) -> None:
    drop(db, MIDDLE)
    db.execute("CALL refresh_aggregates()")
    found = reader.readings(*WHOLE, FROM, TO, "1hour")
    assert found.provenance.tiers == ("warm",)
    assert found.provenance.watermark == TO
    same(found.frame, expected_buckets(truth, NAMES, FROM, TO, "1h"))


def test_buckets_of_a_day_that_readings_came_for(db: PgConnection, reader: Reader, truth: Readings) -> None:
    drop(db, MIDDLE)
    late = pack([to_micros(FROM + timedelta(days=1, hours=5)) + 7], 4000.0, 1, Quality.GOOD)
    insert(db, late)
    found = reader.readings(*WHOLE, FROM, TO, "1day")
    assert found.provenance.tiers == ("warm", "cold", "overlay")
    same(found.frame, expected_buckets(np.concatenate([truth, late]), NAMES, FROM, TO, "1d"))
    # another tag's late readings do not concern these
    assert reader.readings("acme", "PB-001", "tag_2", FROM, TO, "1day").provenance.tiers == ("warm",)


def test_buckets_older_than_aggregates_are_kept(db: PgConnection, settings: Settings, truth: Readings) -> None:
    drop(db, MIDDLE)
    with Reader(settings.model_copy(update={"aggregate_days": 5})) as reader:
        found = reader.readings(*WHOLE, FROM, TO, "1hour")
    assert found.provenance.relation == "readings, parquet"
    same(found.frame, expected_buckets(truth, NAMES, FROM, TO, "1h"))


def test_readings_that_are_summed_up_are_not_rows_of_the_answer(
    db: PgConnection, settings: Settings, truth: Readings
) -> None:
    drop(db, MIDDLE)
    db.execute("UPDATE tags SET interval_s = 900")
    with Reader(settings.model_copy(update={"aggregate_days": 5, "query_max_rows": 20})) as reader:
        found = reader.readings(*WHOLE, FROM, TO, "1day")
    same(found.frame, expected_buckets(truth, NAMES, FROM, TO, "1d"))
    assert [(part.tier, part.rows) for part in found.provenance.parts] == [("warm", 192), ("cold", 192), ("warm", 192)]
    assert_seams(found, FROM, TO)


def test_a_day_that_moves_under_the_query(db: PgConnection, reader: Reader, truth: Readings, database_url: str) -> None:
    expected = expected_raw(truth, NAMES, FROM, TO)
    assert not db.closed

    def move() -> None:
        with connect(load_settings(database_url=database_url), autocommit=True) as own:
            for _ in range(8):
                drop(own, MIDDLE)
                restore(own, MIDDLE, middle(truth))

    moving = threading.Thread(target=move)
    moving.start()
    reads = 0
    while moving.is_alive() or not reads:
        with contextlib.suppress(MovedError):  # it moves faster than a busy machine reads: no answer, never a wrong one
            assert_frame_equal(plain(reader.readings(*WHOLE, FROM, TO, "raw").frame), expected)
            reads += 1
    moving.join()
    assert reads


def test_a_damaged_copy_is_one_clear_error(
    db: PgConnection, reader: Reader, truth: Readings, settings: Settings
) -> None:
    assert len(truth)
    drop(db, MIDDLE)
    (copy,) = (path for path in (settings.data_dir / "cold").rglob("*.parquet"))
    content = bytearray(copy.read_bytes())
    content[8 : len(content) - 8] = bytes(len(content) - 16)
    copy.write_bytes(content)
    with pytest.raises(DamagedCopyError, match="2026-09-02"):
        reader.readings(*WHOLE, FROM, TO, "raw")
    copy.unlink()
    with pytest.raises(DamagedCopyError, match="2026-09-02"):
        reader.readings(*WHOLE, FROM, TO, "raw")
    assert not reader.readings(*WHOLE, FROM, FROM + timedelta(days=1), "raw").frame.is_empty()


def test_a_day_that_is_archived_elsewhere(db: PgConnection, reader: Reader, truth: Readings) -> None:
    assert len(truth)
    drop(db, MIDDLE)
    db.execute("UPDATE archive_manifest SET store = 'bigquery'")
    with pytest.raises(ColdError, match=r"2026-09-02 of acme is archived in bigquery.*parquet"):
        reader.readings(*WHOLE, FROM, TO, "raw")


def test_a_tenant_that_came_later_has_no_part_in_it(db: PgConnection, reader: Reader, truth: Readings) -> None:
    assert len(truth)
    drop(db, MIDDLE)
    add_tags(db, 1, "newcomer")
    found = reader.readings("newcomer", "PB-001", None, FROM, TO, "raw")
    assert found.frame.is_empty()
    assert found.provenance.tiers == ("warm", "cold")


def test_telemetry_says_that_it_lacks_what_came_for_a_dropped_day(
    db: PgConnection, reader: Reader, truth: Readings
) -> None:
    db.execute("UPDATE tags SET name = 'tubing_pressure' WHERE tag_id = 1")
    drop(db, MIDDLE)
    db.execute("CALL refresh_aggregates()")
    start = FROM + timedelta(days=1)
    assert reader.telemetry("acme", None, FROM, TO).provenance.watermark == TO
    for tag, watermark in ((2, TO), (1, start)):  # the one is no metric
        insert(db, pack([to_micros(start + timedelta(hours=5)) + 7], 4000.0, tag, Quality.GOOD))
        db.execute("CALL refresh_aggregates()")  # passes dropped days over
        for interval in ("1hour", "1day"):
            assert reader.telemetry("acme", "PB-001", FROM, TO, interval).provenance.watermark == watermark
    assert reader.telemetry("acme", None, start + timedelta(hours=9), TO).provenance.watermark == start + timedelta(
        hours=9
    )
    assert reader.telemetry("acme", None, FROM, start).provenance.watermark == start
    assert reader.telemetry("acme", None, start + timedelta(days=1), TO).provenance.watermark == TO
    restore(db, MIDDLE, middle(truth))
    db.execute("CALL refresh_aggregates()")
    assert reader.telemetry("acme", None, FROM, TO).provenance.watermark == TO
