"""Days leave the warm tier only when they are proven, whoever writes meanwhile; their aggregates stay as they were."""

from __future__ import annotations

import random
import threading
from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest

from tests.seed import add_readings, add_tags, at
from tests.tiering import DAY, NOW, day_of, same
from tests.waiting import eventually
from wellos.archive.dropping import DroppingBusyError, DropRefusedError, drop_day
from wellos.archive.late import overlay_days
from wellos.archive.locks import DayBusyError, lock_day
from wellos.archive.restoring import restore_day
from wellos.quality import Quality
from wellos.readings import pack
from wellos.storage.changes import note_readings_changed
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from tests.tiering import Platform
    from wellos.storage.warm import PgConnection

NEXT = DAY + timedelta(days=1)


def test_a_proven_day_goes_and_its_aggregates_stay(platform: Platform) -> None:
    before = platform.aggregates()
    platform.archive()
    done = platform.drop()
    assert (done.day, done.tenants, done.rows) == (DAY, 2, len(platform.of()))
    assert done.bytes > 0
    assert platform.dropped() == [DAY]
    assert len(platform.warm(DAY)) == 0
    assert same(platform.warm(), platform.truth[platform.truth["time"] >= day_of(NEXT)])
    platform.refresh()
    assert platform.aggregates() == before
    assert platform.problems() == []
    with pytest.raises(DropRefusedError, match="dropped already"):
        platform.drop()


def test_days_go_one_after_the_other(platform: Platform) -> None:
    before = platform.aggregates()
    platform.archive()
    platform.archive(NEXT)
    platform.drop()
    platform.drop(NEXT)  # the first moment of a day is logged with the day before it
    assert platform.dropped() == [DAY, NEXT]
    assert platform.aggregates() == before


def test_a_day_without_readings_goes_with_its_receipts(platform: Platform) -> None:
    empty = date(2026, 7, 1)
    with pytest.raises(DropRefusedError, match="tenant acme has no verified copy"):
        platform.drop(empty)
    platform.leave(empty)
    assert platform.dropped() == [empty]
    platform.late(5, day=empty)
    assert len(platform.warm(empty)) == 1
    assert overlay_days(platform.db) == [empty]
    assert platform.problems() == []


def test_a_reading_between_archive_and_drop_prevents_it(platform: Platform) -> None:
    platform.archive()
    platform.late(7)
    platform.refresh()
    with pytest.raises(DropRefusedError, match="tenant acme may have changed"):
        platform.drop()
    assert same(platform.warm(), platform.truth)
    platform.archive()
    platform.drop()
    assert platform.problems() == []


def test_a_change_that_nobody_noted_is_found_by_adding_up(platform: Platform) -> None:
    platform.archive()
    tag = platform.tags[0]
    platform.db.execute(
        "UPDATE readings SET value = value + 1 WHERE tag_id = %s AND time = %s", (tag, at("2026-08-01"))
    )
    platform.refresh()
    with pytest.raises(DropRefusedError, match=r"readings of tenant acme, its copy [0-9]+, of other values"):
        platform.drop()
    assert platform.dropped() == []


def test_a_copy_that_changed_since_is_found_before_the_drop(platform: Platform) -> None:
    platform.archive()
    platform.store.write("other", DAY, [platform.of()[:5]], "another")
    with pytest.raises(
        DropRefusedError, match=r"the copy of tenant other in parquet is no longer what its receipt says"
    ):
        platform.drop()
    platform.store.quarantine("other", DAY)
    with pytest.raises(DropRefusedError, match=r"the copy of tenant other .*wellos archive --tenant other"):
        platform.drop()
    assert same(platform.warm(), platform.truth)


def test_readings_of_a_tag_that_nobody_archived_prevent_it(platform: Platform) -> None:
    platform.archive()
    with platform.db.transaction():  # a writer that knows no notes
        add_readings(platform.db, [(at("2026-08-01 09:00"), 99, 1.0, 2)])
    platform.refresh()
    with pytest.raises(DropRefusedError, match=r"does not know \(99\)"):
        platform.drop()


def test_a_tenant_that_came_later_needs_a_receipt_too(platform: Platform) -> None:
    platform.archive()
    add_tags(platform.db, slug="third")
    with pytest.raises(DropRefusedError, match="tenant third has no verified copy"):
        platform.drop()


def test_who_works_on_the_day_is_not_disturbed(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellos.archive.dropping._LOCK_TIMEOUT_S", 0.1)
    platform.archive()
    with (
        connect(platform.settings, autocommit=True) as other,
        lock_day(other, DAY, shared=True),
        pytest.raises(DayBusyError),
    ):
        platform.drop()
    assert platform.dropped() == []


def _insert(writer: PgConnection, platform: Platform, minute: int) -> None:
    moment = at("2026-08-01 00:00") + timedelta(minutes=minute)
    add_readings(writer, [(moment, platform.tags[0], float(minute), 2)])
    note_readings_changed(writer.cursor(), [DAY])


def test_a_writer_in_flight_is_waited_for_and_then_prevents_it(platform: Platform) -> None:
    platform.archive()
    found: list[BaseException] = []

    def drop() -> None:
        with connect(platform.settings, autocommit=True) as conn:
            try:
                drop_day(conn, platform.store, DAY, NOW, platform.settings)
            except DropRefusedError as error:
                found.append(error)

    with connect(platform.settings) as writer:
        _insert(writer, platform, 3)
        thread = threading.Thread(target=drop)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'ShareRowExclusiveLock'"
        eventually(lambda: platform.db.execute(waiting).fetchone() == (1,))
        writer.commit()
        thread.join(60)
    assert "tenant acme may have changed" in str(found[0])
    assert platform.dropped() == []


def test_a_writer_that_does_not_end_is_one_clear_error(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wellos.archive.dropping._LOCK_TIMEOUT_S", 0.1)
    platform.archive()
    with connect(platform.settings) as writer:
        _insert(writer, platform, 3)
        with pytest.raises(DroppingBusyError, match="2026-08-01 is not dropped now"):
            platform.drop()
        writer.rollback()
    platform.drop()
    assert platform.dropped() == [DAY]


class _LateWriter(threading.Thread):
    """Writes late readings of the day in bursts, each with a value of its own, until it is told to stop."""

    def __init__(self, platform: Platform, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._platform, self._number, self._stop_now = platform, number, stop
        self.written: set[int] = set()
        self.pause_s = 0.5

    def run(self) -> None:
        chance = random.Random(self._number)
        with connect(self._platform.settings) as writer:
            while not self._stop_now.wait(chance.choice([0.0, 0.0, 0.0, self.pause_s])):
                millis = chance.randrange(86_400) * 1000 + 1 + self._number
                if millis in self.written:
                    continue
                try:
                    moment = at("2026-08-01 00:00") + timedelta(milliseconds=millis)
                    add_readings(writer, [(moment, self._platform.tags[self._number], float(millis), 2)])
                    note_readings_changed(writer.cursor(), [DAY])
                    writer.commit()
                except psycopg.errors.DeadlockDetected:  # ingest tries again
                    writer.rollback()
                else:
                    self.written.add(millis)


def test_no_reading_is_lost_while_days_are_dropped(platform: Platform) -> None:
    """Writers of late readings beside archive and drop: each is in the copy or in the overlay when all is done."""
    stop = threading.Event()
    writers = [_LateWriter(platform, number, stop) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        while not _gone(platform):
            for writer in writers:  # the busier the machine, the longer a day takes to be archived
                writer.pause_s = min(5, writer.pause_s * 1.5)
        before = len(writers[0].written)
        eventually(lambda: len(writers[0].written) > before)
    finally:
        stop.set()
        for writer in writers:
            writer.join(60)
    assert overlay_days(platform.db) == [DAY]
    restore_day(platform.db, platform.store, DAY, NOW, timedelta(0))
    late = [row for row in platform.warm(DAY).tolist() if row[0] % 1_000_000]
    assert {row[1] for row in late} == {float(millis) for writer in writers for millis in writer.written}
    assert len(platform.warm(DAY)) == len(platform.of()) + sum(len(writer.written) for writer in writers)


def _gone(platform: Platform) -> bool:
    platform.refresh()
    try:
        platform.leave()
    except (DropRefusedError, DroppingBusyError):
        return False
    return True


def test_killed_in_the_middle_nothing_has_changed(platform: Platform) -> None:
    platform.archive()
    before = platform.aggregates()
    platform.killed_at("drop_readings_day", "dropping.drop_day(conn, store, DAY, NOW, settings)")
    assert platform.dropped() == []
    assert same(platform.warm(), platform.truth)
    platform.drop()
    assert platform.dropped() == [DAY]
    assert platform.aggregates() == before


def test_late_readings_leave_the_aggregates_alone(platform: Platform) -> None:
    before = platform.aggregates()
    platform.leave()
    platform.late(1)
    platform.write(pack(day_of(DAY) + np.arange(50) * 60_000_000, 1.0, platform.tags[1], Quality.GOOD, 7))
    platform.refresh()
    assert platform.aggregates() == before
    assert overlay_days(platform.db) == [DAY]
    assert platform.problems() == []
