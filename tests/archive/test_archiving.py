"""A tenant's day archived: what is proven, what makes it stale, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.archiving import DAY, add_day, cold_day, equal, make_day, warm_day
from tests.hooked_store import HookedStore
from tests.seed import add_tags
from wellos.aggregates import day_window
from wellos.archive.archiving import DroppedDayError, VanishedDayError, archive_day
from wellos.archive.locks import DayBusyError, lock_copy, lock_day
from wellos.archive.receipts import pending, receipt_in_force
from wellos.clock import ScaledClock, to_micros
from wellos.errors import ConfigurationError
from wellos.readings import empty
from wellos.storage.cold.checksum import checksum
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

every_store = pytest.mark.parametrize("archive_settings", ["parquet", "bigquery"], indirect=True)


def _states(db: PgConnection) -> list[str]:
    return [row[0] for row in db.execute("SELECT state FROM archive_manifest ORDER BY receipt_id")]


@every_store
def test_what_was_archived_is_proven_and_read_back(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    tags = add_tags(db, 3)
    stored = add_day(db, make_day(tags, 200))
    done = archive_day(archive_settings, cold, "acme", DAY)
    receipt = done.receipt
    assert done.outcome == "archived"
    assert equal(cold_day(cold), stored)
    assert receipt.checksum == checksum(stored) == cold.checksum("acme", DAY)
    assert (receipt.rows, list(receipt.connections.values())) == (600, [600])
    assert receipt.first_time is not None
    assert receipt.last_time is not None
    assert to_micros(receipt.first_time) == stored["time"].min()
    assert to_micros(receipt.last_time) == stored["time"].max()
    assert receipt.bytes > 0
    assert receipt.file_sha256
    assert not receipt.stale
    assert receipt_in_force(db, cold.name, "acme", DAY) == receipt


def test_doing_it_again_changes_nothing(db: PgConnection, archive_settings: Settings, cold: ColdStore) -> None:
    stored = add_day(db, make_day(add_tags(db, 2), 50))
    first = archive_day(archive_settings, cold, "acme", DAY)
    again = archive_day(archive_settings, cold, "acme", DAY)
    assert again.outcome == "unchanged"
    assert again.receipt == first.receipt
    forced = archive_day(archive_settings, cold, "acme", DAY, force=True)
    assert forced.outcome == "archived"
    assert forced.receipt.checksum == first.receipt.checksum
    assert equal(cold_day(cold), stored)
    assert _states(db) == ["replaced", "verified"]


@every_store
def test_a_late_reading_makes_it_stale_and_comes_along(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    tags = add_tags(db, 2)
    add_day(db, make_day(tags, 50))
    archive_day(archive_settings, cold, "acme", DAY)
    add_day(db, make_day(tags, 3, 2))
    stale = receipt_in_force(db, cold.name, "acme", DAY)
    assert stale is not None
    assert stale.stale
    assert [(one.tenant, one.day, one.reason) for one in pending(db, cold.name, DAY)] == [("acme", DAY, "changed")]
    done = archive_day(archive_settings, cold, "acme", DAY)
    assert (done.outcome, done.receipt.rows, done.receipt.stale) == ("archived", 106, False)
    assert equal(cold_day(cold), warm_day(db, tags))
    assert pending(db, cold.name, DAY) == []


def test_a_correction_that_keeps_the_count_is_seen(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    tags = add_tags(db, 1)
    add_day(db, make_day(tags, 50))
    before = archive_day(archive_settings, cold, "acme", DAY).receipt
    with db.transaction():
        db.execute("UPDATE readings SET value = 7, quality = 2 WHERE time = (SELECT min(time) FROM readings)")
        db.execute("SELECT note_readings_changed(%s::date[])", ([DAY],))
    after = archive_day(archive_settings, cold, "acme", DAY)
    assert after.outcome == "archived"
    assert after.receipt.rows == before.rows
    assert after.receipt.checksum != before.checksum
    assert equal(cold_day(cold), warm_day(db, tags))


@every_store
def test_written_to_and_equal_all_the_same_is_a_fresh_receipt_for_the_same_copy(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    add_day(db, make_day(add_tags(db, 1), 50))
    before = archive_day(archive_settings, cold, "acme", DAY).receipt
    db.execute("SELECT note_readings_changed(%s::date[])", ([DAY],))
    after = archive_day(archive_settings, cold, "acme", DAY)
    assert after.outcome == "renewed"
    assert after.receipt.receipt_id > before.receipt_id
    assert (after.receipt.location, after.receipt.file_sha256) == (before.location, before.file_sha256)
    assert (after.receipt.first_time, after.receipt.connections) == (before.first_time, before.connections)
    assert _states(db) == ["replaced", "verified"]


@every_store
def test_an_empty_day_has_a_receipt(db: PgConnection, archive_settings: Settings, cold: ColdStore) -> None:
    add_tags(db, 1)
    receipt = archive_day(archive_settings, cold, "acme", DAY).receipt
    assert (receipt.rows, receipt.checksum_a, receipt.connections, receipt.first_time) == (0, 0, {}, None)
    assert len(cold_day(cold)) == 0


def test_tenants_do_not_mix(db: PgConnection, archive_settings: Settings, cold: ColdStore) -> None:
    mine = add_day(db, make_day(add_tags(db, 2), 20))
    others = add_day(db, make_day(add_tags(db, 2, "other"), 30))
    for tenant in ("acme", "other"):
        archive_day(archive_settings, cold, tenant, DAY)
    assert equal(cold_day(cold), mine)
    assert equal(cold_day(cold, "other"), others)


def test_what_is_committed_during_the_export_is_not_lost(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    tags = add_tags(db, 2)
    before = add_day(db, make_day(tags, 20))
    writing = HookedStore(cold, {"write": lambda: add_day(db, make_day(tags, 5, 2))})
    done = archive_day(archive_settings, writing, "acme", DAY)
    assert done.receipt.rows == len(before)
    assert equal(cold_day(cold), before)
    assert done.receipt.stale
    assert archive_day(archive_settings, cold, "acme", DAY).receipt.rows == len(before) + 10


def test_a_dropped_day_is_never_archived_from_its_overlay(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    tags = add_tags(db, 1)
    whole = add_day(db, make_day(tags, 50))
    archive_day(archive_settings, cold, "acme", DAY)
    db.execute("DELETE FROM readings")
    db.execute("UPDATE reading_days SET dropped_at = now()")
    assert archive_day(archive_settings, cold, "acme", DAY).outcome == "unchanged"
    add_day(db, make_day(tags, 2, 2))
    for force in (False, True):
        with pytest.raises(DroppedDayError, match="wellos restore --day 2026-11-01"):
            archive_day(archive_settings, cold, "acme", DAY, force=force)
    assert pending(db, cold.name, DAY) == []
    assert equal(cold_day(cold), whole)


def test_a_day_that_vanished_does_not_replace_its_copy(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    whole = add_day(db, make_day(add_tags(db, 1), 50))
    archive_day(archive_settings, cold, "acme", DAY)
    with db.transaction():
        db.execute("DELETE FROM readings")
        db.execute("SELECT note_readings_changed(%s::date[])", ([DAY],))
    with pytest.raises(VanishedDayError, match="the archive holds 50 readings"):
        archive_day(archive_settings, cold, "acme", DAY)
    assert equal(cold_day(cold), whole)
    assert archive_day(archive_settings, cold, "acme", DAY, force=True).receipt.rows == 0


@pytest.mark.parametrize("hours", [-1, 0, 23.9])
def test_a_day_that_has_not_ended_is_refused(archive_settings: Settings, cold: ColdStore, hours: float) -> None:
    now = to_micros(datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hours))
    clock = ScaledClock(now, to_micros(datetime.now(UTC)), 1)
    with pytest.raises(ConfigurationError, match=r"has not ended .*from 2026-11-02 00:00 UTC"):
        archive_day(archive_settings, cold, "acme", DAY, clock=clock)


def test_an_unknown_tenant_names_the_nearest(db: PgConnection, archive_settings: Settings, cold: ColdStore) -> None:
    add_tags(db, 1)
    with pytest.raises(ConfigurationError, match="Did you mean acme"):
        archive_day(archive_settings, cold, "acne", DAY)


def test_a_second_archiver_and_a_drop_are_told_apart(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    add_tags(db, 1)
    row = db.execute("SELECT tenant_id FROM tenants").fetchone()
    assert row is not None
    with (
        connect(archive_settings, autocommit=True) as other,
        lock_copy(other, row[0], DAY, cold.name),
        pytest.raises(DayBusyError, match="this tenant's copy"),
    ):
        archive_day(archive_settings, cold, "acme", DAY)
    busy: list[BaseException] = []

    def drop() -> None:
        try:
            with lock_day(db, DAY, shared=False, patience_s=0):
                pass
        except DayBusyError as error:
            busy.append(error)

    archive_day(archive_settings, HookedStore(cold, {"written": drop}), "acme", DAY)
    assert len(busy) == 1


_READING = st.tuples(
    st.integers(0, 2),
    st.integers(0, 86_399_999_999),
    st.one_of(st.floats(allow_nan=True), st.floats(-1000, 1000).map(lambda value: round(value, 2))),
    st.integers(0, 2),
    st.integers(0, (1 << 32) - 1),
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(_READING, max_size=60))
def test_whatever_is_archived_is_read_back(
    db: PgConnection,
    archive_settings: Settings,
    cold: ColdStore,
    rows: list[tuple[int, int, float, int, int]],
) -> None:
    found = [row[0] for row in db.execute("SELECT tag_id FROM tags ORDER BY tag_id")] or add_tags(db, 3)
    with db.transaction():
        db.execute("DELETE FROM readings")
        db.execute("SELECT note_readings_changed(%s::date[])", ([DAY],))
    since = to_micros(day_window(DAY)[0])
    unique = {(tag, moment): (value, quality, status) for tag, moment, value, quality, status in rows}
    readings = empty(len(unique))
    for at, ((tag, moment), (value, quality, status)) in enumerate(unique.items()):
        fits = abs(value) <= 1e100
        readings[at] = (since + moment, value, found[tag], status, quality if fits else 0, 0)
    stored = add_day(db, readings)
    done = archive_day(archive_settings, cold, "acme", DAY, force=True)
    assert done.receipt.checksum == checksum(stored)
    assert equal(cold_day(cold), stored)
    assert not np.asarray(cold_day(cold)["flags"]).any()
