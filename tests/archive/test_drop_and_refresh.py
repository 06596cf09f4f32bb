"""A drop and a refresh of aggregates at once: a refresh that had begun leaves alone what was dropped meanwhile."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.tiering import DAY
from tests.waiting import eventually
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from tests.tiering import Platform
    from wellos.storage.warm import Engine

LAST = DAY + timedelta(days=2)

_BUCKETS = "SELECT count(*) FROM readings_1min WHERE bucket >= %s AND bucket < %s"


def test_a_refresh_between_two_days_leaves_the_dropped_one_alone(platform: Platform, database_engine: Engine) -> None:
    if database_engine == "plain":
        pytest.skip("one transaction refreshes all days there, and a drop waits for its end")
    db = platform.db
    platform.leave(DAY + timedelta(days=1))  # the days left are not contiguous: they are refreshed one after the other
    day = DAY + timedelta(days=3)
    for minute in range(0, 3000, 20):
        platform.late(minute, day=day)
    platform.refresh()
    platform.archive(LAST)
    before = db.execute(_BUCKETS, (LAST, day)).fetchone()
    platform.late(1, day=DAY)  # the first day is stale
    (chunk,) = db.execute(
        "SELECT format('%I.%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks AS c "
        "JOIN timescaledb_information.continuous_aggregates AS a "
        "ON c.hypertable_name = a.materialization_hypertable_name WHERE a.view_name = 'readings_1min' "
        "ORDER BY range_start LIMIT 1"
    ).fetchone() or ("",)

    def refresh() -> None:
        with connect(platform.settings, autocommit=True) as conn:
            conn.execute("CALL refresh_aggregate('readings_1min', NULL, NULL)")

    with connect(platform.settings) as holder:
        holder.execute(f"LOCK TABLE {chunk} IN SHARE MODE")
        thread = threading.Thread(target=refresh)
        thread.start()  # stops in the first day
        eventually(lambda: db.execute("SELECT aggregate_in_refresh()").fetchone() == (True,))
        db.execute("SELECT pg_advisory_lock(hashtext('aggregate_take_turn'))")
        holder.rollback()
    eventually(lambda: db.execute("SELECT aggregate_in_refresh()").fetchone() == (False,))
    platform.drop(LAST)
    db.execute("SELECT pg_advisory_unlock(hashtext('aggregate_take_turn'))")
    thread.join(60)
    assert platform.dropped() == [DAY + timedelta(days=1), LAST]
    assert db.execute(_BUCKETS, (LAST, day)).fetchone() == before
