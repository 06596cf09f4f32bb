"""Schedules: what they ask for, and when they do not."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from wellos_dagster.defs.aggregates.schedules import daily_aggregates, refresh_check
from wellos_dagster.resources import PlatformClock

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection


def test_the_refresh_check_waits_for_the_last_one(instance: dg.DagsterInstance) -> None:
    def evaluate() -> object:
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
        return refresh_check(context)

    assert isinstance(evaluate(), dg.RunRequest)
    run = dg.DagsterRun(job_name="refresh_check", status=dg.DagsterRunStatus.STARTED)
    instance.add_run(run)
    assert isinstance(evaluate(), dg.SkipReason)


@pytest.mark.usefixtures("field")
def test_the_daily_job_takes_the_day_before_by_the_platforms_clock(instance: dg.DagsterInstance) -> None:
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    request = daily_aggregates(context, clock=PlatformClock())
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == "2026-03-09"


def test_a_day_before_the_first_partition_is_skipped(
    field: PgConnection, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert field.closed is False
    monkeypatch.setenv("WELLOS_CLOCK", "2014-01-24T10:00:00Z@2026-01-01T00:00:00Z*1e-12")
    context = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    assert isinstance(daily_aggregates(context, clock=PlatformClock()), dg.SkipReason)
