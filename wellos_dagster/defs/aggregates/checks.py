"""Checks of each aggregate: it keeps up with the readings, and it says what the raw readings say."""

import random
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from wellos import aggregates
from wellos.aggregates import TELEMETRY, WIDTHS, day_window
from wellos.ingest_status import newest_time
from wellos.settings import load_settings
from wellos_dagster.defs.aggregates.assets import POOL
from wellos_dagster.defs.aggregates.storage_checks import storage_checks
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import seconds
from wellos_dagster.tables import frame_records

if TYPE_CHECKING:
    import psycopg

    from wellos.aggregate_sample import Comparison, Sample

__all__ = ["AGGREGATE_CHECKS"]

LAG_WARN_S = 900
"""Two refreshes of five minutes may be missed or slow."""
LAG_ERROR_S = 3600
ATTEMPTS = 3
"""Comparisons after the first that found a difference, each after a refresh, while late readings keep coming."""


def _watermark_lag(relation: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=relation,
        name="watermark_lag",
        additional_deps=["aggregate_status"],
        description=(
            f"How long a complete bucket has waited to be stored in `{relation}`, beyond the time between two of its "
            f"refreshes: warns above {LAG_WARN_S // 60} minutes, fails above {LAG_ERROR_S // 60}. Reads are complete "
            "all the same, only slower."
        ),
    )
    def watermark_lag(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
        with warm.connect() as conn:
            status = aggregates.statuses(conn)[relation]
            newest = newest_time(conn)
            lag = aggregates.lag_s(conn, status, newest)
            every = aggregates.intervals(conn)[relation]
        # of the readings' time as much passes meanwhile as the platform's clock is faster
        pace = clock.pace()
        due = every.total_seconds() if every else 0.0
        metadata: dict[str, dg.MetadataValue] = {
            "lag_s": seconds(lag),
            "refresh_every_s": seconds(due),
            "pending_invalidations": dg.MetadataValue.int(status.pending_invalidations),
        }
        if status.watermark:
            metadata["watermark"] = dg.MetadataValue.timestamp(status.watermark)
        if newest:
            metadata["newest_reading"] = dg.MetadataValue.timestamp(newest)
        return dg.AssetCheckResult(
            passed=lag <= (LAG_WARN_S + due) * pace,
            severity=dg.AssetCheckSeverity.ERROR if lag > (LAG_ERROR_S + due) * pace else dg.AssetCheckSeverity.WARN,
            description=None if newest else "there are no readings yet",
            metadata=metadata,
        )

    return watermark_lag


def _equals_raw(relation: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=relation,
        name="equals_raw",
        additional_deps=["aggregate_status"],
        pool=POOL,
        description=(
            f"`{relation}` equals a recomputation from raw readings in Polars, on a sample of tags and hours that the "
            "partition (or, without one, the hour) seeds. Counts and extremes exactly, sums to rounding."
        ),
    )
    def equals_raw(context: dg.AssetCheckExecutionContext, warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
        from wellos import aggregate_sample, telemetry_sample  # noqa: PLC0415 - Polars: half a second to import

        compare = telemetry_sample.compare if relation in TELEMETRY else aggregate_sample.compare

        with warm.connect(repeatable_read=True) as conn:
            seed, spans = _spans(context, conn, relation, clock.now())
            sample = aggregate_sample.choose_sample(conn, relation, seed, spans)
            if sample is None:
                return dg.AssetCheckResult(passed=True, description="there are no readings yet")
            found = compare(conn, relation, sample)
        pending = 0
        # A late reading is a difference until it is refreshed, and a refresh that commits between two of our reads can
        # show half of itself: what is wrong stays wrong after a refresh.
        for _ in range(ATTEMPTS):
            if not found.differing.height:
                break
            with warm.connect(autocommit=True) as conn:
                aggregates.refresh_stale(conn)
            with warm.connect(repeatable_read=True) as conn:
                found = compare(conn, relation, sample)
                pending = aggregates.pending(conn, relation)
            if not pending:
                break
        return _judged(found, sample, pending)

    return equals_raw


def _spans(
    context: dg.AssetCheckExecutionContext, conn: "psycopg.Connection", relation: str, now: datetime
) -> tuple[str, list[tuple[datetime, datetime]]]:
    """Seed and days to sample: those of the partitions of the run; without, the newest day and an older one."""
    if context.has_partition_key or context.has_partition_key_range:
        window = context.partition_time_window
        seed = f"{relation} {window.start:%Y-%m-%d}..{window.end:%Y-%m-%d}"
        return seed, [_begun(relation, window.start, window.end, now)]
    seed = f"{relation} {now:%Y-%m-%dT%H:%M}"
    newest = newest_time(conn)
    if newest is None:
        return seed, []
    last = newest.date()
    earlier = [last - timedelta(days=back) for back in range(1, load_settings().raw_days)]
    older = aggregates.days_with_readings(conn, earlier)
    days = [last, *random.Random(seed).sample(older, min(1, len(older)))]  # noqa: S311 - a sample, no secret
    return seed, [_begun(relation, *day_window(day), newest) for day in days]


def _begun(relation: str, start: datetime, end: datetime, now: datetime) -> tuple[datetime, datetime]:
    """The part of a span that has begun, in whole hours: of today, the hours to come hold nothing to compare."""
    if WIDTHS[relation] >= timedelta(days=1) or not start < now < end:
        return start, end
    return start, start + ((now - start) // timedelta(hours=1) + 1) * timedelta(hours=1)


def _judged(found: "Comparison", sample: "Sample", pending: int) -> dg.AssetCheckResult:
    """Say what the comparison found; while changed ranges still wait for a refresh, a difference is only a warning."""
    differing = found.differing.height
    hours = [f"{start:%Y-%m-%d %H:%M}..{end:%Y-%m-%d %H:%M}" for start, end in sample.windows]
    return dg.AssetCheckResult(
        passed=not differing,
        severity=dg.AssetCheckSeverity.WARN if pending else dg.AssetCheckSeverity.ERROR,
        description=(
            f"{differing} of {found.buckets} buckets differ from raw readings"
            + (f"; {pending} changed ranges wait for a refresh" if pending else "")
            if differing
            else f"{found.buckets} buckets equal {found.readings} raw readings"
        ),
        metadata={
            "buckets": found.buckets,
            "readings": found.readings,
            "differing": differing,
            "pending_invalidations": pending,
            "seed": sample.seed,
            "wells" if found.relation in TELEMETRY else "tags": ", ".join(map(str, sample.keys)),
            "windows": dg.MetadataValue.md("\n".join(f"* {hour}" for hour in hours)),
            "differences": frame_records(found.differing),
        },
    )


AGGREGATE_CHECKS = [
    *(check for relation in WIDTHS for check in (_watermark_lag(relation), _equals_raw(relation))),
    storage_checks,
]
