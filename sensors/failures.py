"""Keeps a record of failed runs and failed checks: one JSON line each, whatever started the run.

A failed check does not fail its run, and Dagster tells nobody: the end of every run is looked at for both.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from wellos.settings import load_settings

__all__ = ["FAILURES_FILE", "failed_checks", "failed_runs", "record"]

FAILURES_FILE = "failures.jsonl"
"""In the data folder. A line: time, kind (`run_failed`, `checks_failed`), run_id, job, partition, checks, steps."""


@dg.run_status_sensor(
    run_status=dg.DagsterRunStatus.SUCCESS,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records the failed checks of every run that succeeded.",
)
def failed_checks(context: dg.RunStatusSensorContext) -> None:
    """One line for each run with failed checks.

    Never a SkipReason: a tick sees several runs, and Dagster fails a tick that skips one and handles another.
    """
    checks = list(_failed_checks_of(context.instance, context.dagster_run.run_id))
    if checks:
        record(context.dagster_run, kind="checks_failed", checks=checks)


@dg.run_failure_sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Records every failed run that is not tried again, with its failed steps and checks.",
)
def failed_runs(context: dg.RunFailureSensorContext) -> None:
    """One line for each failed run, the last attempt alone."""
    run = context.dagster_run
    if run.tags.get("dagster/will_retry") == "true":
        return
    steps = [event.step_key for event in context.get_step_failure_events() if event.step_key]
    checks = list(_failed_checks_of(context.instance, run.run_id))
    record(run, kind="run_failed", message=context.failure_event.message or "", steps=steps, checks=checks)


def record(run: dg.DagsterRun, **fields: object) -> None:
    """Append one line to the record; the write is a single one, so that lines of two processes do not mix."""
    settings = load_settings()
    line = {
        "time": settings.make_clock().now().isoformat(timespec="seconds"),
        "run_id": run.run_id,
        "job": run.job_name,
        "partition": _partition(run.tags),
        **fields,
    }
    path = Path(settings.data_dir) / FAILURES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _partition(tags: Mapping[str, str]) -> str | None:
    first = tags.get("dagster/asset_partition_range_start")
    last = tags.get("dagster/asset_partition_range_end")
    return f"{first}..{last}" if first and last else tags.get("dagster/partition")


def _failed_checks_of(instance: dg.DagsterInstance, run_id: str) -> Iterator[Mapping[str, Any]]:
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION):
        evaluation = entry.get_dagster_event().asset_check_evaluation_data
        if not evaluation.passed:
            yield {
                "asset": evaluation.asset_key.to_user_string(),
                "check": evaluation.check_name,
                "severity": evaluation.severity.value,
                "description": evaluation.description,
            }
