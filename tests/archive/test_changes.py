"""Every writer of readings notes the days it changed, so that no change of a watched day is ever missed."""

from __future__ import annotations

import itertools
import random
import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.sinks.warm import WarmSink
from tests.seed import add_readings, add_tags, at
from tests.waiting import eventually
from wellos.clock import WallClock, from_micros, to_micros
from wellos.quality import Quality
from wellos.readings import empty, pack
from wellos.spool_format import Frame, Header
from wellos.storage.changes import days_of, note_readings_changed
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

DAY_US = 86_400_000_000
DAY = date(2026, 11, 1)
DAYS = [date(2026, 11, 1 + n) for n in range(6)]
NOON = to_micros(at("2026-11-01 12:00"))


def _frame(seq: int, readings: Readings) -> Frame:
    rows = len(readings)
    return Frame(Header(1, 0, 0, seq, 3, NOON, NOON, rows, 0, 0, 0, rows, 0), readings, b"")


def _changes(db: PgConnection) -> list[tuple[date, int]]:
    return [(day, int(xid)) for day, xid in db.execute("SELECT day, xid::text FROM reading_changes ORDER BY change_id")]


@given(st.lists(st.integers(-(1 << 62), 1 << 62) | st.integers(-3 * DAY_US, 3 * DAY_US), max_size=30))
def test_days_are_those_of_the_times(micros: list[int]) -> None:
    readings = pack(micros, 0.0, 1, 2) if micros else empty()
    low, high = to_micros(datetime.min.replace(tzinfo=UTC)), to_micros(datetime.max.replace(tzinfo=UTC))
    assert days_of(readings) == sorted({from_micros(one).date() for one in micros if low <= one <= high})


def test_ingest_notes_only_days_that_are_watched(database_settings: Settings, db: PgConnection) -> None:
    db.execute("CALL watch_days(%s)", ([DAY],))
    sink = WarmSink(database_settings, uuid4(), WallClock())
    sink.commit([_frame(1, pack(NOON + np.array([0, DAY_US, 2 * DAY_US]), 1.0, 1, Quality.GOOD))])
    assert [day for day, _ in _changes(db)] == [DAY]
    sink.commit([_frame(2, pack(NOON + np.array([1, 2]) * DAY_US, 2.0, 2, Quality.GOOD))])
    assert len(_changes(db)) == 1
    sink.close()


def test_the_note_and_the_readings_are_one_transaction(database_settings: Settings, db: PgConnection) -> None:
    db.execute("CALL watch_days(%s)", ([DAY],))
    sink = WarmSink(database_settings, uuid4(), WallClock())
    sink.commit([_frame(1, pack([NOON], 1.0, 1, Quality.GOOD))])
    [(_, noted)] = _changes(db)
    assert db.execute("SELECT xmin::text::bigint FROM readings").fetchone() == (noted & 0xFFFFFFFF,)
    db.execute("ALTER TABLE ingest_ledger ADD CHECK (seq < 2)")  # what comes after the readings fails
    with pytest.raises(Exception, match="ingest_ledger"):
        sink.commit([_frame(2, pack([NOON + 1], 1.0, 1, Quality.GOOD))])
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (1,)
    assert len(_changes(db)) == 1
    sink.close()


def test_a_merge_notes_what_it_changed_and_no_more(database_settings: Settings, db: PgConnection) -> None:
    days = [DAY, date(2026, 11, 2)]
    db.execute("CALL watch_days(%s)", (days,))
    sink = WarmSink(database_settings, uuid4(), WallClock())
    first = pack(NOON + np.arange(2) * DAY_US, 1.0, 1, Quality.GOOD)
    sink.commit([_frame(1, first)])
    assert [day for day, _ in _changes(db)] == days
    again = first.copy()
    again["value"][1] = 2.0
    assert sink.commit([_frame(2, again)]).replaced == 1  # the other is a repetition
    assert [day for day, _ in _changes(db)] == [*days, days[1]]
    poorer = pack([NOON], 3.0, 1, Quality.BAD)
    assert sink.commit([_frame(3, poorer)]).superseded == 1
    assert len(_changes(db)) == 3
    sink.close()


def test_a_snapshot_older_than_the_watch_notes_every_day(db: PgConnection, database_url: str) -> None:
    db.execute("SELECT ensure_readings_partitions(%s::date[])", ([DAY],))
    with psycopg.connect(database_url) as writer:
        writer.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        writer.execute("SELECT count(*) FROM readings")
        db.execute("CALL watch_days(%s)", ([DAY],))  # it has not written yet: there is nothing to wait for
        add_readings(writer, [(from_micros(NOON), 1, 1.0, 2)])
        note_readings_changed(writer.cursor(), [DAY])
    assert [day for day, _ in _changes(db)] == [DAY]


def test_watching_waits_for_a_writer_in_flight(
    db: PgConnection, database_url: str, database_settings: Settings
) -> None:
    db.execute("SELECT ensure_readings_partitions(%s::date[])", ([DAY],))
    seen: list[int] = []

    def watch() -> None:
        with connect(database_settings, autocommit=True) as watcher:
            watcher.execute("CALL watch_days(%s)", ([DAY],))
            seen.extend(watcher.execute("SELECT count(*) FROM readings").fetchone() or ())

    with psycopg.connect(database_url) as writer:
        add_readings(writer, [(from_micros(NOON), 1, 1.0, 2)])
        note_readings_changed(writer.cursor(), [DAY])  # before the watch: nothing is noted
        thread = threading.Thread(target=watch)
        thread.start()
        eventually(lambda: db.execute("SELECT count(*) FROM reading_days").fetchone() == (1,))
        assert db.execute("SELECT settled_at FROM reading_days").fetchone() == (None,)
        assert not seen
        writer.commit()
        thread.join(60)
    assert seen == [1]
    assert _changes(db) == []


def test_a_change_from_another_cluster_is_taken_over_once(
    db: PgConnection, database_url: str, database_settings: Settings
) -> None:
    """By watchers at the same time; what one of them has seen since must not come after it."""
    db.execute("INSERT INTO reading_days (day) SELECT unnest(%s)", (DAYS[:2],))
    db.execute("SELECT note_readings_changed(%s)", (DAYS[:2],))
    db.execute("UPDATE reading_changes SET xid = '900000000', cluster = 'another'")

    def watch() -> None:
        with connect(database_settings, autocommit=True) as watcher:
            watcher.execute("CALL watch_days(%s)", ([DAY],))

    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (%s)"
    here = "SELECT oid FROM pg_database WHERE datname = current_database()"
    threads = [threading.Thread(target=watch) for _ in range(3)]
    with psycopg.connect(database_url) as first:
        first.execute("SELECT pg_advisory_xact_lock(hashtext('reading_changes_from_elsewhere'))")
        for thread in threads:
            thread.start()
        eventually(lambda: db.execute(waiting % here).fetchone() == (3,))
        first.execute("UPDATE reading_changes SET xid = DEFAULT, cluster = DEFAULT WHERE day = %s", (DAY,))
        (xid,) = first.execute("SELECT pg_current_xact_id()::text::bigint").fetchone() or (0,)
    for thread in threads:
        thread.join(60)
    assert _changes(db) == [(DAY, xid), (DAYS[1], 900_000_000)]


def test_watching_gives_up_on_a_writer_that_does_not_end(db: PgConnection, database_url: str) -> None:
    db.execute("SELECT ensure_readings_partitions(%s::date[])", ([DAY],))
    with psycopg.connect(database_url) as writer:
        add_readings(writer, [(from_micros(NOON), 1, 1.0, 2)])
        with pytest.raises(psycopg.errors.LockNotAvailable, match="has been writing readings"):
            db.execute("CALL watch_days(%s, '200 ms')", ([DAY],))
    assert db.execute("SELECT settled_at FROM reading_days").fetchone() == (None,)
    db.execute("CALL watch_days(%s)", ([DAY],))
    assert db.execute("SELECT settled_at IS NOT NULL FROM reading_days").fetchone() == (True,)


def _moment(day: date, value: int) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(microseconds=value)


class _Writer(threading.Thread):
    """Writes readings of random days, each with a value of its own, and notes them, until it is told to stop."""

    def __init__(self, url: str, number: int, stop: threading.Event) -> None:
        super().__init__()
        self._url, self._number, self._stop_now = url, number, stop
        self.written: dict[date, set[float]] = {day: set() for day in DAYS}

    def run(self) -> None:
        chance, values = random.Random(self._number), itertools.count(self._number * 1_000_000)
        with psycopg.connect(self._url) as writer:
            while not self._stop_now.is_set():
                if chance.random() < 0.3:
                    writer.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    writer.execute("SELECT 1")
                rows = [(day, next(values)) for day in chance.sample(DAYS, chance.randint(1, 3))]
                batch = [(_moment(day, value), 1, value, 2) for day, value in rows]
                add_readings(writer, batch)
                time.sleep(chance.random() * 0.004)
                note_readings_changed(writer.cursor(), [day for day, _ in rows])
                time.sleep(chance.random() * 0.004)
                if chance.random() < 0.1:
                    writer.rollback()
                    continue
                writer.commit()
                for day, value in rows:
                    self.written[day].add(float(value))


def _shown(watcher: PgConnection, day: date) -> tuple[str, set[float]]:
    """Watch a day, and return a snapshot and what it shows of the day."""
    watcher.execute("CALL watch_days(%s)", ([day],))
    with watcher.transaction():
        watcher.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        (snapshot,) = watcher.execute("SELECT pg_current_snapshot()::text").fetchone() or ("",)
        rows = watcher.execute("SELECT value FROM readings WHERE (time AT TIME ZONE 'UTC')::date = %s", (day,))
        return snapshot, {value for (value,) in rows}


def test_no_change_is_ever_missed(db: PgConnection, database_url: str, database_settings: Settings) -> None:
    """Writers at random; whatever a snapshot of a watched day does not show has a change that it does not show."""
    add_tags(db)
    db.execute("SELECT ensure_readings_partitions(%s::date[])", (DAYS,))
    stop = threading.Event()
    writers = [_Writer(database_url, number, stop) for number in range(3)]
    for writer in writers:
        writer.start()
    shown = {}
    with connect(database_settings, autocommit=True) as watcher:
        for day in DAYS:
            time.sleep(0.05)
            shown[day] = _shown(watcher, day)
        time.sleep(0.05)
        stop.set()
    for writer in writers:
        writer.join(60)
    later = 0
    for day, (snapshot, values) in shown.items():
        unseen = set[float]().union(*(writer.written[day] for writer in writers)) - values
        xids = db.execute(
            "SELECT xmin::text FROM readings WHERE (time AT TIME ZONE 'UTC')::date = %s AND value = ANY (%s)",
            (day, list(unseen)),
        ).fetchall()
        noted = db.execute(
            "SELECT (xid::text::bigint & 4294967295)::text FROM reading_changes "
            "WHERE day = %s AND NOT pg_visible_in_snapshot(xid, %s::pg_snapshot)",
            (day, snapshot),
        ).fetchall()
        assert len(xids) == len(unseen)
        assert set(xids) <= set(noted)
        later += len(unseen)
    assert later
