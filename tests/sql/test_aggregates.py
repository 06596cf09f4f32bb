"""The aggregates: real-time, refreshed, late, corrected and deleted readings, on both engines alike."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.seed import add_readings, add_tags, at
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import Engine, PgConnection

LEVELS = {"readings_1min": 60, "readings_5min": 300, "readings_1hour": 3600, "readings_1day": 86400}
EVERY = (*LEVELS, "telemetry_hourly", "telemetry_daily")
START = at("2026-11-01 00:00")
REFRESH = "CALL refresh_aggregates()"


def _every(seconds: int, hours: float, tag: int = 1) -> list[tuple[datetime, int, float, int]]:
    count = int(hours * 3600 / seconds)
    return [(START + timedelta(seconds=seconds * i), tag, float(i % 10), 2) for i in range(count)]


def _totals(db: PgConnection) -> set[tuple[Any, ...]]:
    """What every level and the readings themselves say of the whole: equal when nothing is stale."""
    good = "count(*), count(*) FILTER (WHERE quality = 2), sum(value) FILTER (WHERE quality = 2)"
    levels = [db.execute(f"SELECT sum(n)::bigint, sum(n_good)::bigint, sum(sum) FROM {name}") for name in LEVELS]
    return {tuple(cursor.fetchall()) for cursor in [*levels, db.execute(f"SELECT {good} FROM readings")]}


def _pending(db: PgConnection) -> dict[str, int]:
    return dict(db.execute("SELECT relation, pending_invalidations FROM aggregate_status").fetchall())


@pytest.mark.parametrize("refreshed", [False, True])
def test_one_bucket_counts_by_quality_and_measures_good(db: PgConnection, *, refreshed: bool) -> None:
    moment = START + timedelta(seconds=10)
    rows = [(4.0, 2), (99.0, 1), (1.0, 2), (float("nan"), 0), (7.0, 2), (1e308, 0)]
    add_readings(db, [(moment + timedelta(seconds=i), 1, *row) for i, row in enumerate(rows)])
    add_readings(db, [(START + timedelta(days=2), 1, 0.0, 2)])
    if refreshed:
        db.execute(REFRESH)
    for name in LEVELS:
        found = db.execute(f"SELECT * FROM {name} WHERE bucket < %s", (START + timedelta(days=1),)).fetchall()
        assert found == [(START, 1, 6, 3, 1, 2, 12.0, 66.0, 1.0, 7.0, 4.0, 7.0)], name


@pytest.mark.parametrize("refreshed", [False, True])
def test_a_bucket_without_a_good_reading_has_counts_and_no_values(db: PgConnection, *, refreshed: bool) -> None:
    add_readings(db, [(START, 1, float("nan"), 0), (START + timedelta(days=2), 1, 0.0, 2)])
    if refreshed:
        db.execute(REFRESH)
    for name in LEVELS:
        found = db.execute(f"SELECT * FROM {name} WHERE bucket < %s", (START + timedelta(days=1),)).fetchall()
        assert found == [(START, 1, 1, 0, 0, 1, None, None, None, None, None, None)], name


@pytest.mark.parametrize("refreshed", [False, True])
def test_first_and_last_skip_buckets_without_a_good_reading(db: PgConnection, *, refreshed: bool) -> None:
    rows = [(0, 8.0, 1), (400, 5.0, 2), (8000, 6.0, 2), (12000, 9.0, 0), (200_000, 0.0, 2)]
    add_readings(db, [(START + timedelta(seconds=second), 1, value, quality) for second, value, quality in rows])
    if refreshed:
        db.execute(REFRESH)
    found = db.execute("SELECT n, first, last FROM readings_1day WHERE bucket = %s", (START,)).fetchall()
    assert found == [(4, 5.0, 6.0)]


@pytest.mark.parametrize("value", [1e-200, 5e-324, 1e100, -1e100, 0.0])
def test_extreme_values_do_not_stop_an_aggregate(db: PgConnection, value: float) -> None:
    (tag,) = add_tags(db)
    add_readings(db, [(START + timedelta(seconds=i), tag, value, 2) for i in range(100)])
    add_readings(db, [(START + timedelta(days=2), tag, value, 2)])
    db.execute(REFRESH)
    for name in LEVELS:
        found = db.execute(f"SELECT min, max, n_good, avg, stddev FROM scada_{name} ORDER BY bucket").fetchone()
        assert found is not None
        assert found[:2] == (value, value)
        assert math.isclose(found[3], value, abs_tol=1e-150)
        assert found[4] <= abs(value) * 1e-6


def test_named_views_divide_last(db: PgConnection) -> None:
    (tag,) = add_tags(db)
    values = [3.25, 4.5, 9.75, 1.0]
    add_readings(db, [(START + timedelta(minutes=17 * i), tag, value, 2) for i, value in enumerate(values)])
    add_readings(db, [(START + timedelta(minutes=1), tag, 1000.0, 1)])
    row = db.execute("SELECT well_name, tag_name, unit, n, n_good, avg, stddev FROM scada_readings_1day").fetchone()
    assert row is not None
    assert row[:5] == ("PB-001", "tag_1", "psi", 5, 4)
    assert row[5:] == pytest.approx((fmean(values), stdev(values)))
    minute = db.execute("SELECT avg, stddev FROM scada_readings_1min ORDER BY bucket LIMIT 1").fetchone()
    assert minute == (3.25, None)


def test_new_readings_show_at_once(db: PgConnection) -> None:
    rows = _every(30, 26)
    for part in (rows[:100], rows[100:3000], rows[3000:]):
        add_readings(db, part)
        assert len(_totals(db)) == 1
        db.execute(REFRESH)
        assert len(_totals(db)) == 1


def test_refresh_leaves_only_the_newest_bucket_to_query_time(db: PgConnection) -> None:
    add_readings(db, _every(60, 50.52))
    db.execute(REFRESH)
    newest = START + timedelta(hours=50, minutes=30)
    for name, seconds in LEVELS.items():
        watermark, refreshed_at, pending = db.execute(
            "SELECT watermark, refreshed_at, pending_invalidations FROM aggregate_status WHERE relation = %s", (name,)
        ).fetchall()[0]
        assert watermark == newest - timedelta(seconds=(newest - START).total_seconds() % seconds), name
        assert abs(datetime.now(UTC) - refreshed_at) < timedelta(minutes=5)
        assert pending == 0


def test_before_the_first_refresh_there_is_no_watermark(db: PgConnection) -> None:
    found = db.execute("SELECT * FROM aggregate_status").fetchall()
    assert found == [(name, None, None, None, 0) for name in EVERY]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO readings VALUES (%(at)s + interval '5 seconds', 1, 500, 2, 0), (%(at)s, 7, 3, 2, 0)",
        "UPDATE readings SET value = 500 WHERE time = %(at)s",
        "UPDATE readings SET quality = 0 WHERE time >= %(at)s AND time < %(at)s + interval '1 hour'",
        "UPDATE readings SET time = time - interval '3 hours 1 second' WHERE time = %(at)s",
        "DELETE FROM readings WHERE time = %(at)s",
        "DELETE FROM readings WHERE time < '2026-11-02'",
        "INSERT INTO readings VALUES ('1999-12-31 23:59:59.999999Z', 1, 3, 2, 0)",
        "INSERT INTO readings SELECT t, 1, 2, 2, 0 FROM generate_series('2026-10-01', '2026-10-09', interval '1 h') t",
    ],
)
def test_what_changes_below_the_watermark_reaches_every_level(db: PgConnection, change: str) -> None:
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    db.execute(change, {"at": START + timedelta(hours=12)})
    assert _pending(db)["readings_1min"] > 0
    db.execute(REFRESH)
    assert len(_totals(db)) == 1
    assert set(_pending(db).values()) == {0}


def test_a_late_copy_reaches_every_level(db: PgConnection) -> None:
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    add_readings(db, _every(7, 40, tag=2))
    db.execute(REFRESH)
    assert len(_totals(db)) == 1
    assert db.execute("SELECT sum(n) FROM readings_1day WHERE tag_id = 2").fetchone() == (len(_every(7, 40)),)


def test_late_readings_in_compressed_chunks_reach_every_level(db: PgConnection, database_engine: Engine) -> None:
    if database_engine == "plain":
        pytest.skip("plain PostgreSQL has no columnstore; set_storage_policies says so")
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    db.execute("SELECT compress_chunk(c) FROM show_chunks('readings') c")
    noon = START + timedelta(hours=12)
    with pytest.raises(psycopg.errors.UniqueViolation):
        add_readings(db, [(noon, 1, 7.0, 2)])
    add_readings(db, [(noon + timedelta(seconds=1), 1, 7.0, 2), (START - timedelta(days=9), 1, 7.0, 2)])
    db.execute("UPDATE readings SET quality = 0 WHERE time = %s", (noon,))
    db.execute("DELETE FROM readings WHERE time < %s", (START + timedelta(hours=1),))
    db.execute(REFRESH)
    assert len(_totals(db)) == 1


def test_aggregates_outlive_the_days_of_readings_that_are_dropped(db: PgConnection, database_engine: Engine) -> None:
    db.execute("SELECT ensure_readings_partitions(%s)", ([date(2026, 11, day) for day in (1, 2, 3)],))
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    before = [db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in LEVELS]
    db.execute("UPDATE readings SET value = 1000 WHERE time < '2026-11-02'")
    if database_engine == "plain":
        db.execute("DROP TABLE readings_20261101")
    else:
        db.execute("SELECT drop_chunks('readings', '2026-11-02'::timestamptz)")
    assert db.execute("SELECT min(time) FROM readings").fetchone() == (at("2026-11-02 00:00"),)
    db.execute(REFRESH)
    assert [db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in LEVELS] == before


def test_a_window_is_refreshed_alone(db: PgConnection) -> None:
    add_readings(db, _every(600, 72))
    db.execute(REFRESH)
    db.execute("UPDATE readings SET value = 1000")
    window = (START + timedelta(hours=24), START + timedelta(hours=48))
    for name in LEVELS:
        db.execute("CALL refresh_aggregate(%s, %s, %s)", (name, *window))
    found = db.execute("SELECT max FROM readings_1day ORDER BY bucket").fetchall()
    # the third day is not over, and its last hour is computed from the readings
    assert [row[0] == 1000 for row in found] == [False, True, True]
    db.execute(REFRESH)
    assert len(_totals(db)) == 1


def test_a_window_that_ends_inside_a_bucket_takes_it_whole(db: PgConnection) -> None:
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    db.execute("UPDATE readings SET value = 1000 WHERE time >= '2026-11-01 10:00Z' AND time < '2026-11-01 11:00Z'")
    for name in LEVELS:
        window = (name, at("2026-11-01 10:17"), at("2026-11-01 10:43"))
        db.execute("CALL refresh_aggregate(%s, %s, %s)", window)
    found = db.execute("SELECT sum(n_good) FROM readings_1min WHERE max = 1000").fetchone()
    assert found == (26,)
    found = db.execute("SELECT min, max FROM readings_1hour WHERE bucket = '2026-11-01 10:00Z'").fetchone()
    assert found == (0, 1000)


def test_a_window_beyond_the_watermark_leaves_no_hole(db: PgConnection) -> None:
    add_readings(db, _every(600, 24 * 6))
    db.execute("CALL refresh_aggregate('readings_1min', %s, %s)", (START, START + timedelta(days=1)))
    db.execute("CALL refresh_aggregate('readings_1min', %s, %s)", (at("2026-11-04 00:00"), at("2026-11-05 00:00")))
    assert len(_totals(db)) == 1


def test_a_coarser_aggregate_is_made_no_further_than_the_finer(db: PgConnection) -> None:
    add_readings(db, _every(600, 24 * 3))
    db.execute("CALL refresh_aggregate('readings_1day', NULL, NULL)")
    db.execute("UPDATE readings SET value = 1000")
    assert len(_totals(db)) == 1
    db.execute(REFRESH)
    assert len(_totals(db)) == 1


def test_a_refresh_with_nothing_stale_changes_nothing(db: PgConnection) -> None:
    db.execute(REFRESH)
    add_readings(db, _every(60, 50))
    db.execute(REFRESH)
    before = [db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in LEVELS]
    db.execute(REFRESH)
    assert [db.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall() for name in LEVELS] == before


def test_days_with_and_without_partitions_are_aggregated(db: PgConnection) -> None:
    db.execute("SELECT ensure_readings_partitions(%s)", ([date(2026, 11, 2)],))
    add_readings(db, _every(60, 60))
    assert len(_totals(db)) == 1
    db.execute(REFRESH)
    assert len(_totals(db)) == 1


def test_a_reading_ahead_of_the_clock_does_not_push_the_watermark_past_it(db: PgConnection) -> None:
    now = datetime.now(UTC)
    rows = [(now - timedelta(minutes=20), 1, 1.0, 2), (now - timedelta(minutes=10), 1, 1.0, 2)]
    minute = now.replace(second=0, microsecond=0)
    ahead = [minute + timedelta(minutes=offset, days=days) for offset in range(-1, 3) for days in (1, 2, 400)]
    add_readings(db, [*rows, *((moment, 1, 5.0, 2) for moment in ahead)])
    db.execute(REFRESH)
    found = db.execute("SELECT max(watermark) <= now() FROM aggregate_status").fetchone()
    assert found == (True,)
    add_readings(db, [(now + timedelta(minutes=2), 1, 2.0, 2)])
    assert len(_totals(db)) == 1


def test_wrong_arguments_are_refused_with_a_hint(db: PgConnection) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="no aggregate readings_2min") as caught:
        db.execute("CALL refresh_aggregate('readings_2min', NULL, NULL)")
    assert "readings_1min, readings_5min" in str(caught.value.diag.message_hint)
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="ends before it begins"):
        db.execute("CALL refresh_aggregate('readings_1min', '2026-11-02', '2026-11-01')")


def test_a_refresh_inside_a_transaction_is_refused(database_settings: Settings) -> None:
    with connect(database_settings) as connection:
        add_readings(connection, _every(60, 1))
        with pytest.raises(psycopg.errors.DatabaseError):
            connection.execute(REFRESH)


def test_policies_are_set_once_for_the_same_ages(db: PgConnection, database_engine: Engine) -> None:
    def ask(*days: int, fastest: int = 60) -> Any:  # noqa: ANN401 - a row
        ages = [timedelta(days=number) for number in days]
        every = Jsonb({name: fastest * (1 + place) for place, name in enumerate(EVERY)})
        return db.execute("SELECT set_storage_policies(%s, %s, %s)", [*ages, every]).fetchall()[0][0]

    if database_engine == "plain":
        assert [line.split(" ", 1)[0] for line in ask(9, 700)] == ["readings", "the", "aggregates"]
        return
    jobs = "SELECT job_id, proc_name, config FROM timescaledb_information.jobs WHERE job_id >= 1000 ORDER BY 1"
    assert ask(9, 700) == []
    first = db.execute(jobs).fetchall()
    assert ask(9, 700) == []
    assert db.execute(jobs).fetchall() == first
    assert [config["compress_after"] for _, name, config in first if name == "policy_compression"] == ["9 days"]
    assert [config["drop_after"] for _, name, config in first if name == "policy_retention"] == ["700 days"] * 6
    assert [name for _, name, _ in first].count("refresh_aggregates_job") == 1
    ask(8, 600)
    changed = [config for _, name, config in db.execute(jobs).fetchall() if name == "policy_retention"]
    assert [config["drop_after"] for config in changed] == ["600 days"] * 6


def test_the_background_job_refreshes(db: PgConnection, database_engine: Engine) -> None:
    if database_engine == "plain":
        pytest.skip("plain PostgreSQL has no background jobs; set_storage_policies says so")
    add_readings(db, _every(60, 50))
    job = db.execute("SELECT job_id FROM timescaledb_information.jobs WHERE proc_name = 'refresh_aggregates_job'")
    db.execute("CALL run_job(%s)", job.fetchone())
    found = db.execute("SELECT count(*) FROM aggregate_status WHERE watermark IS NOT NULL").fetchone()
    assert found == (4,)
