"""The aggregates: refreshed by day on request, and whatever is due of them every five minutes."""

import warnings
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING

import dagster as dg

from wellos import aggregates, plots
from wellos.aggregates import TELEMETRY, Hour
from wellos.ingest_status import newest_time
from wellos.query import watch_closed_days
from wellos.settings import load_settings
from wellos.telemetry import METRICS, STATISTICS
from wellos_dagster.defs.aggregates.lag import lag_plot
from wellos_dagster.partitions import DAILY
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import DATA_TEAM, columns, seconds, table_metadata
from wellos_dagster.tables import records

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

__all__ = ["AGGREGATES", "POOL", "aggregate_status"]

POOL = "aggregates"
"""Held by every run that refreshes: two refreshes of one range would wait for each other in the database."""

RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)

_TAG_COLUMNS = columns(
    bucket="timestamp with time zone: start of the bucket, UTC",
    tag_id="integer: the registry's tag",
    n="bigint: readings",
    n_good="bigint: readings of quality GOOD",
    n_uncertain="bigint: readings of quality UNCERTAIN",
    n_bad="bigint: readings of quality BAD",
    sum="double precision: sum of the GOOD values",
    sum_sq="double precision: sum of their squares",
    min="double precision: least GOOD value",
    max="double precision: greatest GOOD value",
    first="double precision: first GOOD value",
    last="double precision: last GOOD value",
)

_WELL_COLUMNS = columns(
    bucket="timestamp with time zone: start of the bucket, UTC",
    tenant_id="uuid: the registry's tenant",
    well_id="integer: the registry's well",
    n="bigint: readings of the well's metrics",
    n_good="bigint: those of quality GOOD",
    n_uncertain="bigint: those of quality UNCERTAIN",
    n_bad="bigint: those of quality BAD",
    **{
        f"{metric}_{statistic}": f"double precision: {meaning} of the GOOD values of {metric}"
        for metric in METRICS
        for statistic, meaning in zip(
            STATISTICS, ("mean", "least", "greatest", "median", "sample standard deviation"), strict=True
        )
    },
)

# The newest days, not the latest alone: an hour that ingest reports after midnight belongs to yesterday.
_ON_REPORT = dg.AutomationCondition.eager().replace(
    "in_latest_time_window", dg.AutomationCondition.in_latest_time_window(lookback_delta=timedelta(days=3))
)


def _aggregate(relation: str, source: str, what: str) -> dg.AssetsDefinition:
    @dg.asset(
        name=relation,
        deps=[source],
        group_name="aggregates",
        owners=[DATA_TEAM],
        kinds={"postgres", "sql"},
        description=(
            f"{what}. Refreshed after `{source}`, exactly the days asked for; always complete to read, as what is not "
            "yet refreshed is computed when asked."
        ),
        partitions_def=DAILY,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
        automation_condition=_ON_REPORT,
        retry_policy=RETRY,
        pool=POOL,
        metadata=table_metadata(relation, _WELL_COLUMNS if relation in TELEMETRY else _TAG_COLUMNS),
    )
    def aggregate(context: dg.AssetExecutionContext, warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
        window = context.partition_time_window
        begun = clock.monotonic()
        with warm.connect(autocommit=True) as conn:
            behind = aggregates.lag_s(conn, aggregates.statuses(conn)[relation], newest_time(conn))
            known = aggregates.next_transaction(conn)
            aggregates.refresh(conn, relation, window.start, window.end)
            duration = clock.monotonic() - begun
            stored = aggregates.buckets_stored(conn, relation, window.start, window.end, known)
            own = aggregates.by_hour(conn, relation, window.start, window.end)
            # A bucket of a day has no hours to plot: those of the hourly aggregate stand for them.
            hourly = _HOURLY.get(relation, relation)
            hours = own if hourly == relation else aggregates.by_hour(conn, hourly, window.start, window.end)
            status = aggregates.statuses(conn)[relation]
        for day, metadata in _of_each_day(relation, own, hours).items():
            context.add_asset_metadata(metadata, partition_key=day)
        found: dict[str, Any] = {
            "days_in_run": len(context.partition_keys),
            "window": f"{window.start.isoformat()}/{window.end.isoformat()}",
            "duration_s": seconds(duration),
            "buckets_refreshed": stored,
            "behind_s": seconds(behind),
            "lag": lag_plot(context.instance, relation, {relation: behind}, {relation: "behind_s"}),
        }
        if status.watermark:
            found["watermark"] = dg.MetadataValue.timestamp(status.watermark)
            found["lag_s"] = seconds(max(0.0, (clock.now() - status.watermark).total_seconds()))
        return dg.MaterializeResult(metadata=found)

    return aggregate


_HOURLY = {"readings_1day": "readings_1hour", "telemetry_daily": "telemetry_hourly"}


def _of_each_day(relation: str, own: "Sequence[Hour]", hours: "Sequence[Hour]") -> "Mapping[str, Mapping[str, Any]]":
    """Metadata of each day that has readings: totals of the aggregate, and the plot of its readings per hour."""
    plotted = {day: list(group) for day, group in groupby(hours, key=_day)}
    found: dict[str, Mapping[str, Any]] = {}
    for day, group in groupby(own, key=_day):
        totals = list(group)
        shown = plotted.get(day, [])
        png = plots.readings_by_hour(
            [hour.hour for hour in shown],
            [hour.good for hour in shown],
            [hour.uncertain for hour in shown],
            [hour.bad for hour in shown],
            title=f"{relation}, {day}",
        )
        buckets = sum(hour.buckets for hour in totals)
        found[day] = {
            "dagster/partition_row_count": buckets,
            "buckets": buckets,
            "rows": sum(hour.n for hour in totals),
            "good": sum(hour.good for hour in totals),
            "uncertain": sum(hour.uncertain for hour in totals),
            "bad": sum(hour.bad for hour in totals),
            "readings_per_hour": dg.MetadataValue.md(plots.markdown_image(png, alt=f"readings per hour of {day}")),
        }
    return found


def _day(hour: Hour) -> str:
    return hour.hour.date().isoformat()


_OF_TAGS = "counts by quality, and sum, sum of squares, min, max, first and last of the GOOD ones"
_OF_WELLS = "mean, min, max, median and standard deviation of the GOOD readings of each, the median from raw readings"


with warnings.catch_warnings():
    warnings.simplefilter("ignore", dg.BetaWarning)  # `backfill_policy` is in beta, and there is nothing else
    AGGREGATES = [
        _aggregate("readings_1min", "readings", f"Readings by tag and minute: {_OF_TAGS}"),
        _aggregate("readings_5min", "readings_1min", f"Readings by tag and 5 minutes: {_OF_TAGS}"),
        _aggregate("readings_1hour", "readings_5min", f"Readings by tag and hour: {_OF_TAGS}"),
        _aggregate("readings_1day", "readings_1hour", f"Readings by tag and UTC day: {_OF_TAGS}"),
        _aggregate("telemetry_hourly", "readings_1min", f"Metrics of a well by hour: {_OF_WELLS}"),
        _aggregate("telemetry_daily", "telemetry_hourly", f"Metrics of a well by UTC day: {_OF_WELLS}"),
    ]


@dg.asset(
    deps=["readings"],
    group_name="aggregates",
    owners=[DATA_TEAM],
    kinds={"postgres", "sql"},
    pool=POOL,
    retry_policy=RETRY,
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(minutes=30), warn_window=timedelta(minutes=15)
    ),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata=table_metadata(
        "aggregate_status",
        columns(
            relation="text: the aggregate",
            watermark="timestamp with time zone: before it, buckets are read as stored; after it, computed when asked",
            materialised_to="timestamp with time zone: end of the newest stored bucket",
            refreshed_at="timestamp with time zone: when it was last refreshed",
            pending_invalidations="bigint: ranges that changed since and wait for the next refresh",
        ),
    ),
)
def aggregate_status(context: dg.AssetExecutionContext, warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """Refreshes every aggregate whose refresh is due by its policy, wherever it is stale, and says where each stands.

    Has the days that are over watched, so that what is read of them may be cached.
    """
    begun = clock.monotonic()
    with warm.connect(autocommit=True) as conn:
        before = aggregates.statuses(conn)
        newest = newest_time(conn)
        behind = {relation: aggregates.lag_s(conn, status, newest) for relation, status in before.items()}
        aggregates.refresh_due(conn)
        duration = clock.monotonic() - begun
        after = aggregates.statuses(conn)
    watched = watch_closed_days(load_settings())
    now = clock.now()
    found: dict[str, Any] = {
        "dagster/row_count": len(after),
        "duration_s": seconds(duration),
        "stale_ranges_before": sum(status.pending_invalidations for status in before.values()),
        "days_newly_watched": len(watched),
        "stale_ranges_after": sum(status.pending_invalidations for status in after.values()),
        "refreshed": sum(after[relation].refreshed_at != status.refreshed_at for relation, status in before.items()),
        "state": records(after.values()),
        "lag": lag_plot(
            context.instance, "aggregate_status", behind, {relation: f"{relation}_behind_s" for relation in behind}
        ),
    }
    for relation, status in after.items():
        found[f"{relation}_behind_s"] = seconds(behind[relation])
        if status.watermark:
            found[f"{relation}_lag_s"] = seconds(max(0.0, (now - status.watermark).total_seconds()))
    return dg.MaterializeResult(metadata=found)
