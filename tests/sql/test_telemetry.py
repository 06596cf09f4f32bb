"""Telemetry of a well: which tag counts for which metric, what is in its columns, and what is left to query time."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import fmean, median, stdev
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.seed import add_readings, add_tags, at

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection

START = at("2026-11-02 00:00")
REFRESH = "CALL refresh_aggregates()"
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _values(db: PgConnection, relation: str, metric: str, bucket: object = START) -> tuple[Any, ...] | None:
    columns = ", ".join(f"{metric}_{statistic}" for statistic in ("avg", "min", "max", "median", "stddev"))
    return db.execute(f"SELECT {columns} FROM {relation} WHERE bucket = %s", (bucket,)).fetchone()


def _expected(values: list[float]) -> Any:  # noqa: ANN401 - an approximation is no type
    return pytest.approx((fmean(values), min(values), max(values), median(values), stdev(values)))


@pytest.mark.parametrize("refreshed", [False, True])
def test_statistics_are_of_good_readings(db: PgConnection, *, refreshed: bool) -> None:
    oil, spare = add_tags(db, names=["oil_rate", "spare"])
    values = [3.25, 4.5, 9.75, 1.0]
    add_readings(db, [(START + timedelta(minutes=7 * i), oil, value, 2) for i, value in enumerate(values)])
    others = [(oil, 1000.0, 1), (oil, float("nan"), 0), (spare, 5.0, 2)]
    add_readings(db, [(START + timedelta(minutes=i + 1), *row) for i, row in enumerate(others)])
    add_readings(db, [(START + 2 * DAY, oil, 1.0, 2)])
    if refreshed:
        db.execute(REFRESH)
    counts = "SELECT n, n_good, n_uncertain, n_bad, gas_rate_avg FROM telemetry_hourly WHERE bucket = %s"
    assert db.execute(counts, (START,)).fetchone() == (6, 4, 1, 1, None)
    assert _values(db, "telemetry_hourly", "oil_rate") == _expected(values)
    day = _values(db, "telemetry_daily", "oil_rate")
    assert day is not None
    # until the day is materialised it is the sum of its hours, which have no common median
    assert day[3] == (median(values) if refreshed else None)
    assert day[:3] + day[4:] == pytest.approx((fmean(values), 1.0, 9.75, stdev(values)))


def test_the_day_in_progress_shows_at_once(db: PgConnection) -> None:
    (oil,) = add_tags(db, names=["oil_rate"])
    minutes = [(START + timedelta(minutes=i), oil, float(i % 7), 2) for i in range(1, 24 * 60 + 90)]
    for part in (minutes[:700], minutes[700:1500], minutes[1500:]):
        add_readings(db, part)
        for _ in range(2):
            hours = db.execute("SELECT sum(n)::int, max(oil_rate_max) FROM telemetry_hourly").fetchone()
            days = db.execute("SELECT sum(n)::int, max(oil_rate_max) FROM telemetry_daily").fetchone()
            stored = db.execute("SELECT count(*)::int, max(value) FROM readings").fetchone()
            assert hours == days == stored
            db.execute(REFRESH)


def test_weeks_begin_on_monday_and_months_on_the_first(db: PgConnection) -> None:
    (oil,) = add_tags(db, names=["oil_rate"])
    sunday = at("2026-11-01 23:00")
    days = [sunday, START, at("2026-11-08 12:00"), at("2026-11-09 00:00"), at("2026-12-01 00:00")]
    add_readings(db, [(moment, oil, float(place), 2) for place, moment in enumerate(days)])
    db.execute(REFRESH)
    week = {START - 7 * DAY: 0.0, START: 1.5, START + 7 * DAY: 3.0, at("2026-11-30 00:00"): 4.0}
    month = {at("2026-11-01 00:00"): 1.5, at("2026-12-01 00:00"): 4.0}
    for relation, expected in (("telemetry_weekly", week), ("telemetry_monthly", month)):
        found = db.execute(f"SELECT bucket, oil_rate_avg, oil_rate_median FROM {relation} ORDER BY 1").fetchall()
        assert found == [(bucket, avg, None) for bucket, avg in expected.items()]
    for relation, expected in (("readings_1week", week), ("readings_1month", month)):
        found = db.execute(f"SELECT bucket, avg FROM scada_{relation} ORDER BY 1").fetchall()
        assert found == list(expected.items())
    found = db.execute("SELECT n, first, last, min, max FROM readings_1month ORDER BY bucket").fetchall()
    assert found == [(4, 0.0, 3.0, 0.0, 3.0), (1, 4.0, 4.0, 4.0, 4.0)]


def test_a_metric_is_measured_once_in_a_well(db: PgConnection) -> None:
    oil, second = add_tags(db, names=["oil_rate", "oil_2"])
    with pytest.raises(psycopg.errors.ExclusionViolation, match="tags_one_a_metric"):
        db.execute("UPDATE tags SET metric = 'oil_rate' WHERE tag_id = %s", (second,))
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute("UPDATE tags SET metric = 'oil' WHERE tag_id = %s", (second,))
    exchanged = "UPDATE tags SET metric = CASE tag_id WHEN %s THEN 'none' ELSE 'oil_rate' END"
    db.execute(exchanged, (oil,))
    found = db.execute("SELECT tag_id, telemetry_metric FROM tags ORDER BY 1").fetchall()
    assert found == [(oil, None), (second, "oil_rate")]
    db.execute("UPDATE tags SET retired_at = now() WHERE tag_id = %s", (second,))
    db.execute("UPDATE tags SET metric = NULL WHERE tag_id = %s", (oil,))


def test_a_tag_that_was_replaced_still_counts_for_its_past(db: PgConnection) -> None:
    old, new = add_tags(db, names=["oil_rate", "oil_2"])
    add_readings(db, [(START, old, 1.0, 2), (START + HOUR, new, 3.0, 2), (START + 2 * DAY, new, 3.0, 2)])
    db.execute(REFRESH)
    db.execute("UPDATE tags SET retired_at = now() WHERE tag_id = %s", (old,))
    db.execute("UPDATE tags SET metric = 'oil_rate' WHERE tag_id = %s", (new,))
    pending = "SELECT pending_invalidations > 0 FROM aggregate_status WHERE relation = 'telemetry_hourly'"
    assert db.execute(pending).fetchone() == (True,)
    db.execute(REFRESH)
    found = db.execute("SELECT bucket, oil_rate_avg FROM telemetry_hourly ORDER BY 1").fetchall()
    assert found == [(START, 1.0), (START + HOUR, 3.0), (START + 2 * DAY, 3.0)]
    found = db.execute("SELECT bucket, oil_rate_median FROM telemetry_daily ORDER BY 1").fetchall()
    assert found == [(START, 2.0), (START + 2 * DAY, None)]
    assert db.execute("SELECT sum(pending_invalidations)::int FROM aggregate_status").fetchone() == (0,)


def test_nothing_is_stored_beyond_a_watermark(db: PgConnection) -> None:
    tags = add_tags(db, names=["oil_rate", "temperature"])
    add_readings(db, [(START + i * timedelta(minutes=10), tag, 1.0, 2) for tag in tags for i in range(500)])
    every = "SELECT relation, aggregate_beyond_watermark(relation) FROM aggregate_status"
    assert {count for _, count in db.execute(every)} == {0}
    ((known,),) = db.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())").fetchall()
    stored = "SELECT aggregate_buckets_stored('telemetry_hourly', %s, %s, %s::text::xid8)"
    window = (START, START + DAY, str(known))
    assert db.execute(stored, window).fetchone() == (0,)
    db.execute(REFRESH)
    assert {count for _, count in db.execute(every)} == {0}
    assert db.execute(stored, window).fetchone() == (24,)
    ((later,),) = db.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())").fetchall()
    db.execute("UPDATE readings SET value = 2 WHERE time = %s", (START,))
    db.execute(REFRESH)
    assert db.execute(stored, (*window[:2], str(later))).fetchone() == (1,)


def test_old_aggregates_are_dropped_by_age(db: PgConnection) -> None:
    (oil,) = add_tags(db, names=["oil_rate"])
    add_readings(db, [(START - 400 * DAY + i * HOUR, oil, 1.0, 2) for i in range(48)])
    add_readings(db, [(START + i * HOUR, oil, 1.0, 2) for i in range(48)])
    db.execute(REFRESH)
    drop = "SELECT relation, buckets FROM drop_old_aggregates('300 days', %s)"
    dropped: dict[str, int] = dict(db.execute(drop, (START,)).fetchall())
    assert dropped == {
        "readings_1min": 48,
        "readings_5min": 48,
        "readings_1hour": 48,
        "readings_1day": 2,
        "telemetry_hourly": 48,
        "telemetry_daily": 2,
    }
    db.execute(REFRESH)
    for relation in dropped:
        assert db.execute(f"SELECT min(bucket) FROM {relation}").fetchone() == (START,)


def test_only_what_is_due_is_refreshed(db: PgConnection) -> None:
    (oil,) = add_tags(db, names=["oil_rate"])
    every = {"readings_1min": 1, "readings_5min": 1, "readings_1hour": 3600, "readings_1day": 3600}
    every |= {"telemetry_hourly": 1, "telemetry_daily": 3600}
    db.execute("SELECT set_storage_policies('7 days', '730 days', %s)", (Jsonb(every),))
    add_readings(db, [(START + i * HOUR, oil, 1.0, 2) for i in range(72)])
    db.execute("CALL refresh_due_aggregates()")
    at_first: dict[str, Any] = dict(db.execute("SELECT relation, refreshed_at FROM aggregate_status").fetchall())
    assert None not in at_first.values()
    db.execute("SELECT pg_sleep(1)")
    db.execute("CALL refresh_due_aggregates()")
    then: dict[str, Any] = dict(db.execute("SELECT relation, refreshed_at FROM aggregate_status").fetchall())
    again = {relation for relation, moment in then.items() if moment > at_first[relation]}
    assert again == {relation for relation, seconds in every.items() if seconds == 1}


def test_the_policies_in_force_are_listed(db: PgConnection, database_engine: Engine) -> None:
    every = {"readings_1min": 120, "telemetry_daily": 7200}
    db.execute("SELECT set_storage_policies('9 days', '700 days', %s)", (Jsonb(every),))
    found = db.execute("SELECT policy, relation, setting FROM storage_policies_in_force").fetchall()
    assert ("refresh", "readings_1min", timedelta(seconds=120)) in found
    assert ("refresh", "telemetry_daily", timedelta(seconds=7200)) in found
    assert ("drop", "telemetry_hourly", timedelta(days=700)) in found
    assert (("compress", "readings", timedelta(days=9)) in found) == (database_engine == "timescale")
    jobs = db.execute("SELECT job, relation, consecutive_failures, last_error FROM storage_jobs").fetchall()
    assert (("refresh_aggregates_job", None, 0, None) in jobs) == (database_engine == "timescale")
    if database_engine == "timescale":
        pace = "SELECT schedule_interval FROM timescaledb_information.jobs WHERE proc_name = 'refresh_aggregates_job'"
        assert db.execute(pace).fetchone() == (timedelta(seconds=120),)


def test_performance_and_diagnostics_have_one_row_a_well_and_period(db: PgConnection) -> None:
    add_tags(db)
    hour = "INSERT INTO well_performance_hourly (bucket, tenant_id, well_id) SELECT %s, tenant_id, well_id FROM wells"
    db.execute(hour, (START,))
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(hour, (START,))
    with pytest.raises(psycopg.errors.CheckViolation):
        db.execute(hour, (START + timedelta(minutes=5),))
    day = (
        "INSERT INTO diagnostic_summary_daily (production_day, tenant_id, well_id, diagnosis_type) "
        "SELECT %s, tenant_id, well_id, 'gas_lock' FROM wells"
    )
    db.execute(day, (date(2026, 11, 2),))
    with pytest.raises(psycopg.errors.UniqueViolation):
        db.execute(day, (date(2026, 11, 2),))
