"""Checks of how aggregates are kept: the background jobs that look after them, and that nothing is stored twice."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from wellos import aggregates
from wellos.aggregates import WIDTHS
from wellos.storage.warm import engine
from wellos_dagster.resources import Warm
from wellos_dagster.tables import records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.aggregates import BackgroundJob

__all__ = ["storage_checks"]

FAILURES_ERROR = 3
"""Consecutive failures of a background job at which it is an error: one is tried again by itself."""

_NO_JOBS = "not available: plain PostgreSQL has no background jobs; the schedule refresh_check refreshes"


def _specs() -> Iterator[dg.AssetCheckSpec]:
    for relation in WIDTHS:
        yield dg.AssetCheckSpec(
            "policy_job",
            asset=relation,
            additional_deps=["aggregate_status"],
            description=(
                f"The database's background jobs that refresh `{relation}` and drop its old buckets are scheduled and "
                f"their last run succeeded: warns at a failure, fails at {FAILURES_ERROR} in a row or without the job."
            ),
        )
        yield dg.AssetCheckSpec(
            "no_bucket_beyond_watermark",
            asset=relation,
            additional_deps=["aggregate_status"],
            description=(
                f"What is stored of `{relation}` ends at its watermark: from there on buckets are computed when asked, "
                "and a stored one would count twice."
            ),
        )


@dg.multi_asset_check(specs=[*_specs()], can_subset=True)
def storage_checks(context: dg.AssetCheckExecutionContext, warm: Warm) -> Iterator[dg.AssetCheckResult]:
    """All in one step: each is one look into the catalog."""
    with warm.connect(autocommit=True) as conn:
        background = engine(conn) == "timescale"
        jobs = aggregates.background_jobs(conn)
        for key in sorted(context.selected_asset_check_keys):
            relation = key.asset_key.to_user_string()
            if key.name == "no_bucket_beyond_watermark":
                yield _beyond(relation, aggregates.beyond_watermark(conn, relation))
            else:
                yield _jobs(relation, [job for job in jobs if job.relation in (None, relation)], background=background)


def _beyond(relation: str, found: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=relation,
        check_name="no_bucket_beyond_watermark",
        passed=not found,
        description=f"{found} stored buckets begin at or after the watermark" if found else None,
        metadata={"buckets": found},
    )


def _jobs(relation: str, jobs: "Sequence[BackgroundJob]", *, background: bool) -> dg.AssetCheckResult:
    def result(
        description: str, *, passed: bool, severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.WARN
    ) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            asset_key=relation,
            check_name="policy_job",
            passed=passed,
            severity=severity,
            description=description,
            metadata={
                "consecutive_failures": max((job.consecutive_failures for job in jobs), default=0),
                "failures": sum(job.failures for job in jobs),
                "last_error": next((job.last_error for job in jobs if job.last_error), "none"),
                "jobs": records(jobs),
            },
        )

    if not background:
        return result(_NO_JOBS, passed=True)
    if not any(job.job == "refresh_aggregates_job" for job in jobs):
        message = "the job that refreshes is gone: run `wellos migrate`"
        return result(message, passed=False, severity=dg.AssetCheckSeverity.ERROR)
    worst = max(jobs, key=lambda job: job.consecutive_failures)
    if worst.consecutive_failures:
        error = dg.AssetCheckSeverity.ERROR
        severity = error if worst.consecutive_failures >= FAILURES_ERROR else dg.AssetCheckSeverity.WARN
        times = f"{worst.consecutive_failures} time{'s' if worst.consecutive_failures > 1 else ''} in a row"
        message = f"job {worst.job_id}, {worst.job}, failed {times}: {worst.last_error or 'it says no more'}"
        return result(message, passed=False, severity=severity)
    idle = [f"{job.job_id}, {job.job}" for job in jobs if not job.scheduled]
    if idle:
        return result(f"not scheduled: job {'; job '.join(idle)}", passed=False)
    return result(f"{len(jobs)} jobs, none failing", passed=True)
