"""Writers and refreshes at the same time: no reading is ever missed by an aggregate."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.seed import add_readings, at
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

LEVELS = ("readings_1min", "readings_5min", "readings_1hour", "readings_1day")
START = at("2026-11-01 00:00")


def _refresh(settings: Settings) -> None:
    with connect(settings, autocommit=True) as connection:
        connection.execute("CALL refresh_aggregates()")


def _counts(db: PgConnection) -> set[Any]:
    counts = [db.execute(f"SELECT sum(n)::bigint FROM {name}").fetchone() for name in LEVELS]
    return {*counts, db.execute("SELECT count(*) FROM readings").fetchone()}


@pytest.mark.parametrize("isolation", psycopg.IsolationLevel)
def test_a_writer_that_commits_during_a_refresh_is_not_missed(
    db: PgConnection, database_settings: Settings, isolation: psycopg.IsolationLevel
) -> None:
    add_readings(db, [(START, 1, 1.0, 2), (START + timedelta(days=2), 1, 1.0, 2)])
    with connect(database_settings) as writer, ThreadPoolExecutor(1) as pool:
        writer.isolation_level = isolation
        add_readings(writer, [(START + timedelta(hours=hour), 2, 1.0, 2) for hour in range(40)])
        refresh = pool.submit(_refresh, database_settings)
        threading.Event().wait(0.5)  # long enough for a refresh that would not wait to be over
        writer.commit()
        refresh.result(timeout=90)
    _refresh(database_settings)
    assert _counts(db) == {(42,)}


def test_a_writer_that_takes_its_time_stops_neither_refreshes_nor_writers(
    db: PgConnection, database_settings: Settings
) -> None:
    # every day is there: TimescaleDB lets nobody else into a chunk before the transaction that makes it is over
    add_readings(db, [(START + timedelta(days=day), 1, 1.0, 2) for day in range(3)])
    with connect(database_settings) as writer:
        add_readings(writer, [(START + timedelta(hours=hour), 2, 1.0, 2) for hour in range(40)])
        _refresh(database_settings)
        db.execute("SET lock_timeout = '90s'")
        add_readings(db, [(START + timedelta(hours=hour), 3, 1.0, 2) for hour in range(40)])
        _refresh(database_settings)
        writer.commit()
    _refresh(database_settings)
    assert _counts(db) == {(83,)}


@pytest.mark.parametrize("isolation", psycopg.IsolationLevel)
def test_a_writer_that_began_before_a_refresh_and_writes_after_it_is_not_missed(
    db: PgConnection, database_settings: Settings, isolation: psycopg.IsolationLevel
) -> None:
    add_readings(db, [(START, 1, 1.0, 2), (START + timedelta(days=2), 1, 1.0, 2)])
    with connect(database_settings) as writer:
        writer.isolation_level = isolation
        assert writer.execute("SELECT count(*) FROM readings").fetchone() == (2,)
        _refresh(database_settings)
        try:
            add_readings(writer, [(START + timedelta(hours=hour), 2, 1.0, 2) for hour in range(40)])
        except psycopg.errors.SerializationFailure:
            pytest.skip("this engine refuses such a writer, which has to begin again")
        writer.commit()
    _refresh(database_settings)
    assert _counts(db) == {(42,)}


def test_many_writers_and_refreshes(db: PgConnection, database_settings: Settings) -> None:
    writers, batches, rows = 4, 60, 40
    done = threading.Event()

    def write(tag: int) -> None:
        with connect(database_settings, autocommit=True) as connection:
            for batch in range(batches):
                done.wait(0.02)  # all at about the same time, as refreshes come and go
                late = timedelta(hours=batch % 3)
                moments = (START + timedelta(minutes=batch * rows + i, seconds=tag) - late for i in range(rows))
                values = [(moment, tag * 1000 + batch, 1.0, 2) for moment in moments]
                add_readings(connection, values)

    def refresh() -> int:
        rounds = 0
        while not done.is_set():
            _refresh(database_settings)
            rounds += 1
        return rounds

    with ThreadPoolExecutor(writers + 2) as pool:
        refreshes = [pool.submit(refresh) for _ in range(2)]
        try:
            for future in [pool.submit(write, tag) for tag in range(writers)]:
                future.result()
        finally:
            done.set()
        assert sum(future.result() for future in refreshes) > 1
    _refresh(database_settings)
    assert _counts(db) == {(writers * batches * rows,)}
