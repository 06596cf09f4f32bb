"""Checks fail when they should: each is shown the fault it is for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import dagster as dg
import pytest
from psycopg.types.json import Jsonb

from tests.dagster.conftest import NOW, add_readings, rows, spoil
from wellos import aggregates
from wellos.aggregates import WIDTHS
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from wellos.storage.warm import Engine, PgConnection

WARN, ERROR = dg.AssetCheckSeverity.WARN, dg.AssetCheckSeverity.ERROR
TODAY = datetime(2026, 3, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def run_check(instance: dg.DagsterInstance, asset: str, name: str) -> dg.AssetCheckEvaluation:
    selection = dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey(asset), name))
    job = dg.define_asset_job("one_check", selection=selection).resolve(
        asset_graph=defs.resolve_asset_graph(), resource_defs=defs.resources
    )
    (evaluation,) = job.execute_in_process(instance=instance).get_asset_check_evaluations()
    return evaluation


@pytest.mark.parametrize("relation", WIDTHS)
def test_a_wrong_bucket_is_found(field: PgConnection, instance: dg.DagsterInstance, relation: str) -> None:
    began = TODAY + timedelta(minutes=1)
    add_readings(field, TODAY - 2 * DAY, began)  # both days are over, and stored
    aggregates.refresh_stale(field)
    add_readings(field, began, NOW)
    assert run_check(instance, relation, "equals_raw").passed
    spoil(field, relation)
    found = run_check(instance, relation, "equals_raw")
    assert not found.passed
    assert found.severity is ERROR
    assert found.metadata["differing"].value
    difference = rows(found.metadata["differences"])[0]
    assert "n_good=" in str(difference["expected"])
    assert difference["expected"] != difference["stored"]


def test_a_late_reading_is_refreshed_before_it_is_called_a_difference(
    field: PgConnection, instance: dg.DagsterInstance
) -> None:
    add_readings(field, TODAY - DAY, TODAY)
    aggregates.refresh_stale(field)
    field.execute("UPDATE readings SET value = value + 1 WHERE quality = 2")
    found = run_check(instance, "readings_1hour", "equals_raw")
    assert found.passed
    assert found.metadata["pending_invalidations"].value == 0
    assert aggregates.pending(field, "readings_1hour") == 0


@pytest.mark.parametrize("relation", WIDTHS)
def test_a_bucket_beyond_the_watermark_is_found(
    field: PgConnection, instance: dg.DagsterInstance, relation: str
) -> None:
    add_readings(field, TODAY - 2 * DAY, TODAY)
    aggregates.refresh_stale(field)
    assert run_check(instance, relation, "no_bucket_beyond_watermark").passed
    ((table,),) = field.execute("SELECT aggregate_table(%s)::text", [relation]).fetchall()
    copied = f"SELECT (jsonb_populate_record(m, %s)).* FROM {table} m LIMIT 1"
    field.execute(f"INSERT INTO {table} {copied}", [Jsonb({"bucket": f"{TODAY + DAY:%Y-%m-%d}T00:00Z"})])
    found = run_check(instance, relation, "no_bucket_beyond_watermark")
    assert not found.passed
    assert found.metadata["buckets"].value == 1


def test_a_background_job_that_fails_is_found(
    field: PgConnection, instance: dg.DagsterInstance, database_engine: Engine
) -> None:
    if database_engine == "plain":
        found = run_check(instance, "readings_1min", "policy_job")
        assert found.passed
        assert "not available" in str(found.description)
        return
    found = run_check(instance, "telemetry_daily", "policy_job")
    assert (found.passed, found.severity) == (False, WARN)
    assert "not scheduled: job" in str(found.description)  # as every job of a test's database
    field.execute(
        "SELECT alter_job(job_id, next_start => now() + '1 day'::interval, scheduled => true) "
        "FROM timescaledb_information.jobs WHERE job_id >= 1000"
    )
    assert run_check(instance, "telemetry_daily", "policy_job").passed
    field.execute(
        "INSERT INTO _timescaledb_internal.bgw_job_stat SELECT job_id, now(), now(), now() + '1 day'::interval, now(), "
        "false, 9, '0', '0', 4, 5, 0, 3, 0, 0 FROM timescaledb_information.jobs "
        "WHERE proc_name = 'refresh_aggregates_job' "
        "ON CONFLICT (job_id) DO UPDATE SET consecutive_failures = 3"
    )
    found = run_check(instance, "telemetry_daily", "policy_job")
    assert (found.passed, found.severity) == (False, ERROR)
    assert "failed 3 times in a row" in str(found.description)
    field.execute(
        "SELECT delete_job(job_id) FROM timescaledb_information.jobs WHERE proc_name = 'refresh_aggregates_job'"
    )
    found = run_check(instance, "telemetry_daily", "policy_job")
    assert (found.passed, found.severity) == (False, ERROR)
    assert "wellos migrate" in str(found.description)


def test_an_empty_database_passes(field: PgConnection, instance: dg.DagsterInstance) -> None:
    for relation in WIDTHS:
        assert run_check(instance, relation, "equals_raw").passed
        assert run_check(instance, relation, "watermark_lag").passed
    assert field.execute("SELECT count(*) FROM readings").fetchone() == (0,)


def test_readings_that_nobody_refreshed_are_lag(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - DAY, TODAY)
    aggregates.refresh_stale(field)
    assert run_check(instance, "readings_1min", "watermark_lag").passed

    add_readings(field, TODAY, TODAY + timedelta(minutes=11))
    found = run_check(instance, "readings_1min", "watermark_lag")
    assert found.passed
    assert found.metadata["lag_s"].value == 600
    assert run_check(instance, "readings_1hour", "watermark_lag").metadata["lag_s"].value == 600

    add_readings(field, TODAY + timedelta(minutes=11), TODAY + timedelta(minutes=40))
    found = run_check(instance, "readings_1min", "watermark_lag")
    assert (found.passed, found.severity) == (False, WARN)
    assert run_check(instance, "readings_1day", "watermark_lag").severity is WARN

    add_readings(field, TODAY + timedelta(minutes=40), NOW)
    found = run_check(instance, "readings_1hour", "watermark_lag")
    assert (found.passed, found.severity) == (False, ERROR)


@pytest.mark.parametrize(
    ("age", "passed", "severity"), [(60, True, None), (600, False, WARN), (3600, False, ERROR), (86400, False, ERROR)]
)
def test_the_newest_reading_must_be_recent(
    field: PgConnection,
    instance: dg.DagsterInstance,
    age: int,
    passed: bool,
    severity: dg.AssetCheckSeverity | None,
) -> None:
    newest = NOW - timedelta(seconds=age)
    add_readings(field, newest, newest + timedelta(seconds=1))
    found = run_check(instance, "readings", "newest_reading")
    assert found.passed is passed
    assert severity is None or found.severity is severity
    assert found.metadata["lag_s"].value == pytest.approx(age, abs=1)


def test_silent_tags_are_named(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, NOW - timedelta(minutes=30), NOW)
    field.execute("DELETE FROM readings WHERE tag_id = 2")
    field.execute("DELETE FROM readings WHERE tag_id = 3 AND time > %s", [NOW - timedelta(minutes=20)])
    found = run_check(instance, "readings", "newest_reading")
    assert found.passed
    assert {row["tag_id"] for row in rows(found.metadata["silent"])} == {2, 3}


def commit(db: PgConnection, spool: UUID, *, received_at: datetime, rows: int = 0) -> None:
    db.execute(
        "INSERT INTO ingest_ledger (spool_id, seq, connection_id, received, quarantined, duplicates, shed, rows, "
        "stored, received_at) SELECT %s, 1, connection_id, %s, 0, 0, 0, %s, %s, %s FROM scada_connections",
        [spool, rows, rows, rows, received_at],
    )


def test_ingest_that_is_gone_dead_or_behind_fails(field: PgConnection, instance: dg.DagsterInstance) -> None:
    spool = uuid4()
    assert run_check(instance, "readings", "ingest_lag").severity is ERROR

    def beat(*, heartbeat_s: int, spooled_s: int | None) -> dg.AssetCheckEvaluation:
        field.execute("DELETE FROM ingest_instances")
        field.execute(
            "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at, oldest_spooled_time) "
            "VALUES (%s, 'here', 1, %s, %s, %s)",
            [
                spool,
                NOW - DAY,
                NOW - timedelta(seconds=heartbeat_s),
                None if spooled_s is None else NOW - timedelta(seconds=spooled_s),
            ],
        )
        return run_check(instance, "readings", "ingest_lag")

    assert beat(heartbeat_s=5, spooled_s=None).passed
    assert beat(heartbeat_s=5, spooled_s=20).passed
    behind = beat(heartbeat_s=5, spooled_s=120)
    assert (behind.passed, behind.severity) == (False, WARN)
    assert beat(heartbeat_s=5, spooled_s=1200).severity is ERROR
    commit(field, spool, received_at=NOW - timedelta(seconds=10))
    assert beat(heartbeat_s=5, spooled_s=86400).passed, "an old reading of a device's store"
    dead = beat(heartbeat_s=300, spooled_s=None)
    assert (dead.passed, dead.severity) == (False, ERROR)


def test_a_reading_that_is_lost_or_comes_from_nowhere_breaks_the_account(
    field: PgConnection, instance: dg.DagsterInstance
) -> None:
    add_readings(field, NOW - timedelta(minutes=5), NOW)
    commit(field, uuid4(), received_at=NOW, rows=20)
    found = run_check(instance, "readings", "accounting")
    assert found.passed, found.description
    assert found.metadata["stored"].value == 20
    assert "no spool" in (found.description or "")
    field.execute("DELETE FROM readings WHERE tag_id = 1 AND time < %s", [NOW - timedelta(minutes=4)])
    found = run_check(instance, "readings", "accounting")
    assert not found.passed
    assert found.severity is ERROR
    assert "20 stored according to the ledger, 19 in readings" in (found.description or "")


def test_wells_that_nobody_writes_about_are_named(field: PgConnection, instance: dg.DagsterInstance) -> None:
    assert run_check(instance, "field_entries", "newest_entry").passed
    add = (
        "INSERT INTO field_entries (entry_id, tenant_id, well_id, entry_type, gauged_at, entered_at, received_at, "
        "data, created_by) SELECT gen_random_uuid(), tenant_id, well_id, 'production', %(at)s, %(at)s, %(at)s, "
        "'{}', 'pat' FROM wells WHERE name = %(well)s"
    )
    field.execute(add, {"well": "W-1", "at": NOW - timedelta(hours=5)})
    field.execute(add, {"well": "W-2", "at": NOW - timedelta(hours=40)})
    found = run_check(instance, "field_entries", "newest_entry")
    assert (found.passed, found.severity) == (False, WARN)
    assert [row["well"] for row in rows(found.metadata["quiet"])] == ["W-2"]
