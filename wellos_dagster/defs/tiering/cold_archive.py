"""The archive by day and tenant: each partition is a proven copy."""

import warnings
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from sensors.archive_runs import MOST_DAYS
from wellos.errors import RetryableError
from wellos.settings import load_settings
from wellos_dagster.partitions import START, TENANT_DAYS
from wellos_dagster.resources import Cold, Warm
from wellos_dagster.specs import DATA_TEAM, columns, seconds, table_metadata

if TYPE_CHECKING:
    from wellos.archive.archiving import Archived
    from wellos.archive.ranges import Summary
    from wellos.archive.receipts import Pending

__all__ = ["POOL", "cold_archive", "older_days"]

POOL = "archive"
"""Held by whatever archives, drops or brings back: one run at a time, unless its limit is raised."""

_KEY = dg.AssetKey("cold_archive")
_MOST_OLDER = 1000
"""Tenants' days of one run; the others have the next night."""

_COLUMNS = columns(
    tenant="text: the tenant",
    tenant_id="uuid: the same",
    day="date: the UTC day",
    store="text: parquet or bigquery",
    receipt_id="bigint: the attempt that was proven",
    rows="bigint: readings",
    checksum_a="bigint: sum of a hash over time, tag, value, quality and status",
    checksum_b="bigint: sum of another",
    connections="jsonb: readings by connection",
    first_time="timestamp with time zone: of the first reading",
    last_time="timestamp with time zone: of the last reading",
    bytes="bigint: as the store keeps it",
    location="text: where the copy is",
    file_sha256="text: of the file that was written or uploaded",
    job_id="text: of the load job",
    schema_version="smallint: of the copy's columns",
    watermark="timestamp with time zone: when the snapshot was taken",
    verified_at="timestamp with time zone: when it was proven",
    duration_s="double precision: what it took",
    dropped_at="timestamp with time zone: when the day left the warm tier",
    restored_at="timestamp with time zone: when it was brought back",
    keep_until="timestamp with time zone: a restored day stays until then",
    stale="boolean: readings of the day changed after the snapshot",
)


class ArchiveConfig(dg.Config):
    """How to archive."""

    force: bool = False
    """Also days that are archived and did not change since."""


with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", dg.BetaWarning
    )  # `backfill_policy` and the mapping are in beta, without another way

    @dg.asset(
        deps=[dg.AssetDep("readings", partition_mapping=dg.MultiToSingleDimensionPartitionMapping("date"))],
        group_name="tiers",
        owners=[DATA_TEAM],
        kinds={"parquet", "bigquery"},
        partitions_def=TENANT_DAYS,
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=MOST_DAYS),
        retry_policy=dg.RetryPolicy(
            max_retries=2, delay=30, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS
        ),
        pool=POOL,
        metadata=table_metadata("archive_receipts", _COLUMNS),
    )
    def cold_archive(
        context: dg.AssetExecutionContext, cold: Cold, config: ArchiveConfig
    ) -> dg.MaterializeResult[None]:
        """A copy of each tenant's day in the archive, proven equal to the database value by value, with its receipt.

        Days that are archived and did not change since are left alone, so a run may be repeated at any time. Where one
        day of a run fails, the others are archived all the same, and the run fails at its end. Nothing is dropped.
        """
        from wellos.archive.ranges import ArchiveFailuresError, archive_days  # noqa: PLC0415 - NumPy, only when it runs

        settings = load_settings()
        clock = settings.make_clock()
        begun = clock.monotonic()
        with cold.open() as store:
            try:
                summary = archive_days(
                    settings,
                    store,
                    _asked(context),
                    clock=clock,
                    force=config.force,
                    progress=lambda one: context.log.debug("%s of %s is done", one.day, one.tenant),
                )
            except ArchiveFailuresError as error:
                raise _failed(context, error.summary) from error
        done = {f"{one.receipt.day}|{one.receipt.tenant}": _metadata(one) for one in summary.done}
        for key, metadata in done.items():
            context.add_asset_metadata(metadata, partition_key=key)
        return dg.MaterializeResult(
            metadata={
                "partitions_in_run": len(done),
                "rows_in_run": sum(item["rows"] for item in done.values()),
                "duration_in_run_s": seconds(clock.monotonic() - begun),
            }
        )


def _asked(context: dg.AssetExecutionContext) -> "list[Pending]":
    """The run's days, by day and tenant."""
    from wellos.archive.receipts import Pending  # noqa: PLC0415 - with the rest of the archive

    asked = []
    for key in context.partition_keys:
        assert isinstance(key, dg.MultiPartitionKey)  # noqa: S101 - the partitions are of day and tenant
        of = key.keys_by_dimension
        asked.append(Pending(of["tenant"], date.fromisoformat(of["date"]), None, None, None, 0))
    return sorted(asked, key=lambda one: (one.day, one.tenant))


def _failed(context: dg.AssetExecutionContext, summary: "Summary") -> dg.Failure:
    """Report the days that were archived, as their receipts stand, and return what makes the run fail.

    What failed in passing is tried again; a copy that differs is for a person to see.
    """
    for one in summary.done:
        key = f"{one.receipt.day}|{one.receipt.tenant}"
        context.log_event(dg.AssetMaterialization(_KEY, partition=key, metadata=_metadata(one)))
    passing = all(isinstance(failure.error, RetryableError) for failure in summary.failures)
    return dg.Failure(
        description="\n".join(map(str, summary.failures)),
        metadata={"archived": len(summary.done), "failed": len(summary.failures)},
        allow_retries=passing,
    )


def _metadata(result: "Archived") -> dict[str, Any]:
    """Metadata of one partition."""
    receipt = result.receipt
    each = {"bytes_per_reading": round(receipt.bytes / receipt.rows, 3)} if receipt.rows else {}
    return {
        "dagster/partition_row_count": receipt.rows,
        "outcome": result.outcome,
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        **each,
        "checksum": f"{receipt.checksum_a:x}:{receipt.checksum_b:x}",
        "location": receipt.location,
        "receipt": receipt.receipt_id,
        "watermark": dg.MetadataValue.timestamp(receipt.watermark),
        "duration_s": seconds(receipt.duration_s),
    }


@dg.asset(
    deps=["readings"],
    group_name="tiers",
    owners=[DATA_TEAM],
    kinds={"parquet", "bigquery"},
    retry_policy=dg.RetryPolicy(max_retries=1, delay=60),
    pool=POOL,
    metadata=table_metadata("archive_receipts", _COLUMNS),
)
def older_days(context: dg.AssetExecutionContext, warm: Warm, cold: Cold) -> dg.MaterializeResult[None]:
    """Archives the days before the first partition, `WELLOS_PARTITIONS_START`, in the same way, the oldest first.

    Imports and recordings may be older than any partition: without this they would stay in the warm tier for ever.
    Days without readings between the first and the last of them follow. Where some fail, the others are archived all
    the same, and the run fails at its end.
    """
    from wellos.archive.ranges import ArchiveFailuresError, archive_days, last_due_day  # noqa: PLC0415 - NumPy
    from wellos.archive.receipts import pending  # noqa: PLC0415 - same

    settings = load_settings()
    clock = settings.make_clock()
    until = min(last_due_day(settings, clock), START - timedelta(days=1))
    with cold.open() as store, warm.connect(autocommit=True) as conn:
        waiting = pending(conn, store.name, until)
        held = set(waiting)
        waiting += [one for one in pending(conn, store.name, until, gaps=True) if one not in held]
        try:
            done = archive_days(settings, store, waiting, clock=clock, most=_MOST_OLDER).done
        except ArchiveFailuresError as error:
            raise dg.Failure(
                description=str(error),
                metadata={"archived": len(error.summary.done), "failed": len(error.summary.failures)},
            ) from error
    context.log.info("%d of %d tenant-days before %s are archived", len(done), len(waiting), START)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(done),
            "archived": len(done),
            "left": len(waiting) - len(done),
            "readings": sum(one.receipt.rows for one in done),
            "bytes": sum(one.receipt.bytes for one in done),
        }
    )
