"""Schedules: what they ask for, and when they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from tests.dagster.conftest import NOW, add_readings
from wellos_dagster.defs.aggregates.schedules import daily_aggregates, refresh_check
from wellos_dagster.defs.ingest import schedules
from wellos_dagster.defs.ingest.schedules import hourly_audit
from wellos_dagster.resources import PlatformClock, Warm

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection


def test_the_refresh_check_waits_for_the_last_one(instance_on_disk: dg.DagsterInstance) -> None:
    def evaluate() -> object:
        context = dg.build_schedule_context(instance=instance_on_disk, scheduled_execution_time=datetime.now(UTC))
        return refresh_check(context)

    assert isinstance(evaluate(), dg.RunRequest)
    run = dg.DagsterRun(job_name="refresh_check", status=dg.DagsterRunStatus.STARTED)
    instance_on_disk.add_run(run)
    assert isinstance(evaluate(), dg.SkipReason)


def test_many_readings_are_audited_once_a_day(
    field: PgConnection, instance_on_disk: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(hour: int) -> object:
        at = datetime(2026, 3, 10, hour, 15, tzinfo=UTC)
        return hourly_audit(
            dg.build_schedule_context(instance=instance_on_disk, scheduled_execution_time=at), warm=Warm()
        )

    add_readings(field, NOW - timedelta(minutes=30), NOW)
    assert isinstance(evaluate(5), dg.RunRequest)
    monkeypatch.setattr(schedules, "SMALL", 100)
    assert isinstance(evaluate(5), dg.SkipReason)
    assert isinstance(evaluate(1), dg.RunRequest)


@pytest.mark.usefixtures("field")
def test_the_daily_job_takes_the_day_before_by_the_platforms_clock(instance_on_disk: dg.DagsterInstance) -> None:
    context = dg.build_schedule_context(instance=instance_on_disk, scheduled_execution_time=datetime.now(UTC))
    request = daily_aggregates(context, clock=PlatformClock())
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-09"


def test_a_day_before_the_first_partition_is_skipped(
    field: PgConnection, instance_on_disk: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert field.closed is False
    monkeypatch.setenv("WELLOS_CLOCK", "2014-01-24T10:00:00Z@2026-01-01T00:00:00Z*1e-12")
    context = dg.build_schedule_context(instance=instance_on_disk, scheduled_execution_time=datetime.now(UTC))
    assert isinstance(daily_aggregates(context, clock=PlatformClock()), dg.SkipReason)
