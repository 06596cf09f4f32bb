"""Sensors: which days are asked for, how often, and what is recorded of a failure."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensors.failures import FAILURES_FILE, failed_checks, failed_runs
from sensors.new_days import MOST_ATTEMPTS, MOST_DAYS, closed_days, new_days, next_batch
from tests.dagster.conftest import NOW, add_readings
from wellos import aggregates
from wellos.settings import load_settings
from wellos_dagster.definitions import defs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from wellos.storage.warm import PgConnection

DAY = timedelta(days=1)
TODAY = datetime(2026, 3, 10, tzinfo=UTC)
DAYS = st.integers(0, 60).map(lambda k: date(2026, 1, 1) + k * DAY)


@given(st.sets(DAYS), st.dictionaries(DAYS, st.integers(0, MOST_ATTEMPTS)))
def test_every_wanted_day_is_asked_for_until_its_attempts_are_used_up(
    wanted: set[date], attempts: dict[date, int]
) -> None:
    asked = dict(attempts)
    while batch := next_batch(wanted, asked):
        days = [batch.first + k * DAY for k in range((batch.last - batch.first).days + 1)]
        assert len(days) <= MOST_DAYS
        assert set(days) <= wanted
        for day in days:
            assert asked.get(day, 0) == batch.attempt - 1
            asked[day] = batch.attempt
    assert all(asked[day] == MOST_ATTEMPTS for day in wanted)


def test_the_newest_days_come_first_and_a_hole_ends_the_range() -> None:
    days = [date(2026, 3, day) for day in (1, 2, 5, 6, 7)]
    batch = next_batch(days, {})
    assert batch is not None
    assert (batch.first, batch.last, batch.attempt) == (date(2026, 3, 5), date(2026, 3, 7), 1)
    batch = next_batch(days, {date(2026, 3, 7): 1})
    assert batch is not None
    assert (batch.first, batch.last, batch.attempt) == (date(2026, 3, 7), date(2026, 3, 7), 2)


@pytest.mark.parametrize(("minute", "last"), [(5, date(2026, 3, 8)), (15, date(2026, 3, 9))])
def test_a_day_is_closed_when_what_comes_late_is_in(minute: int, last: date) -> None:
    settings = load_settings(partitions_start=date(2026, 3, 1), late_after_s=600)
    days = closed_days(settings, datetime(2026, 3, 10, 0, minute, tzinfo=UTC))
    assert days == [date(2026, 3, 1) + k * DAY for k in range((last - date(2026, 3, 1)).days + 1)]


def tick(instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorExecutionData:
    with dg.build_sensor_context(instance=instance, cursor=cursor, definitions=defs) as context:
        return new_days.evaluate_tick(context)


def test_days_are_filled_and_then_reported_with_their_readings(
    field: PgConnection, instance: dg.DagsterInstance
) -> None:
    add_readings(field, TODAY - 3 * DAY, NOW)
    first = tick(instance, None)
    (request,) = list(first.run_requests or [])
    span = {"dagster/asset_partition_range_start": "2026-03-07", "dagster/asset_partition_range_end": "2026-03-09"}
    assert span.items() <= request.tags.items()

    # the run of the tick, as the daemon would start it
    result = defs.resolve_job_def("daily_aggregates").execute_in_process(instance=instance, tags=span)
    assert result.success
    second = tick(instance, first.cursor)
    assert not second.run_requests
    assert [(event.asset_key.to_user_string(), event.partition) for event in second.asset_events] == [
        ("readings", day) for day in ("2026-03-09", "2026-03-08", "2026-03-07")
    ]
    assert {event.metadata["rows"].value for event in second.asset_events} == {4 * 1440}
    assert json.loads(second.cursor or "")["attempts"] == {}


def test_a_day_that_late_data_adds_to_is_asked_for_again(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - 2 * DAY, TODAY - timedelta(hours=2))
    span = {"dagster/asset_partition_range_start": "2026-03-08", "dagster/asset_partition_range_end": "2026-03-09"}
    assert defs.resolve_job_def("daily_aggregates").execute_in_process(instance=instance, tags=span).success
    quiet = tick(instance, None)
    assert not quiet.run_requests

    add_readings(field, TODAY - timedelta(hours=2), TODAY)
    aggregates.refresh_stale(field)
    assert not tick(instance, quiet.cursor).run_requests, "not counted again before five minutes"
    again = tick(instance, None)
    (request,) = list(again.run_requests or [])
    assert request.tags["dagster/asset_partition_range_start"] == "2026-03-09"
    assert request.tags["dagster/asset_partition_range_end"] == "2026-03-09"
    assert [event.metadata["rows"].value for event in again.asset_events if event.partition == "2026-03-09"][-1] == 5760


def test_days_with_field_entries_are_reported(field: PgConnection, instance: dg.DagsterInstance) -> None:
    field.execute(
        "INSERT INTO field_entries (entry_id, tenant_id, well_id, entry_type, gauged_at, entered_at, data, created_by) "
        "SELECT gen_random_uuid(), tenant_id, well_id, 'production', %(at)s - age * interval '1 day', %(at)s, '{}', "
        "'pat' FROM wells, generate_series(0, 2) AS age",
        {"at": NOW},
    )
    ticked = tick(instance, None)
    assert [(event.asset_key.to_user_string(), event.partition) for event in ticked.asset_events] == [
        ("field_entries", "2026-03-09"),
        ("field_entries", "2026-03-08"),
    ]
    assert {event.metadata["revisions"].value for event in ticked.asset_events} == {2}


def test_a_day_that_fails_is_given_up_after_three_runs(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - DAY, TODAY)
    cursor, requests = None, 0
    for _ in range(MOST_ATTEMPTS + 2):
        ticked = tick(instance, cursor)
        cursor, requests = ticked.cursor, requests + len(ticked.run_requests or ())
    assert requests == MOST_ATTEMPTS


def test_one_run_at_a_time(field: PgConnection, instance: dg.DagsterInstance) -> None:
    add_readings(field, TODAY - DAY, TODAY)
    instance.add_run(
        dg.DagsterRun(job_name="x", status=dg.DagsterRunStatus.STARTED, tags={"dagster/sensor_name": "new_days"})
    )
    assert not tick(instance, None).run_requests


def failures(folder: Path) -> list[Mapping[str, Any]]:
    return [json.loads(line) for line in (folder / FAILURES_FILE).read_text().splitlines()]


def test_failed_checks_of_a_run_that_succeeded_are_recorded(
    field: PgConnection, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    add_readings(field, NOW - timedelta(minutes=5), NOW)
    result = defs.resolve_job_def("refresh_check").execute_in_process(instance=instance)
    assert result.success
    with dg.build_run_status_sensor_context(
        sensor_name="failed_checks",
        dagster_event=result.get_run_success_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ) as context:
        failed_checks(context)
    (line,) = failures(tmp_path)
    assert line["kind"] == "checks_failed"
    assert line["run_id"] == result.run_id
    assert line["time"] == "2026-03-10T12:00:30+00:00"
    assert [(check["asset"], check["check"], check["severity"]) for check in line["checks"]] == [
        ("readings", "ingest_lag", "ERROR")
    ]


@pytest.mark.parametrize("retried", [False, True])
def test_a_failed_run_is_recorded_when_it_is_not_tried_again(
    field: PgConnection,
    instance: dg.DagsterInstance,
    tmp_path: Path,
    retried: bool,
) -> None:
    field.execute("DROP TABLE ingest_connections CASCADE")
    result = defs.resolve_job_def("refresh_check").execute_in_process(
        instance=instance, raise_on_error=False, tags={"dagster/will_retry": str(retried).lower()}
    )
    assert not result.success
    with dg.build_run_status_sensor_context(
        sensor_name="failed_runs",
        dagster_event=result.get_run_failure_event(),
        dagster_instance=instance,
        dagster_run=result.dagster_run,
    ) as context:
        failed_runs(context.for_run_failure())
    if retried:
        assert not (tmp_path / FAILURES_FILE).exists()
    else:
        (line,) = failures(tmp_path)
        assert line["kind"] == "run_failed"
        assert set(line["steps"]) == {"registry", "ingest_health"}
