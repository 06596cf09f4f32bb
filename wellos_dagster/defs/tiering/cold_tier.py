"""The cold tier: what is proven to be archived, what is due, and whether copies are still what was proven."""

from collections import Counter
from datetime import date, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from wellos.settings import load_settings
from wellos.tiers.inventory import store_name
from wellos_dagster.resources import Cold, PlatformClock, Warm
from wellos_dagster.specs import DATA_TEAM, columns, table_metadata
from wellos_dagster.tables import records

if TYPE_CHECKING:
    from wellos.archive.receipts import Pending

__all__ = ["cold_tier", "copy_is_sound", "verified"]

_COPIES = 5
_GRACE_DAYS = 1
"""A day is due at midnight and archived in the night: only later than that somebody should look."""


@dg.asset(
    deps=["cold_archive", "dropped_days"],
    group_name="tiers",
    owners=[DATA_TEAM],
    kinds={"parquet", "bigquery"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=1), warn_window=timedelta(hours=13)),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata=table_metadata(
        "archive_manifest",
        columns(
            receipt_id="bigint: the attempt",
            tenant_id="uuid: the tenant",
            day="date: the UTC day",
            store="text: parquet or bigquery",
            state="text: writing, verified, replaced, quarantined or abandoned",
            rows="bigint: readings",
            checksum_a="bigint: sum of a hash of each reading",
            checksum_b="bigint: sum of another",
            connections="jsonb: readings by connection",
            first_time="timestamp with time zone: of the first reading",
            last_time="timestamp with time zone: of the last reading",
            bytes="bigint: as the store keeps it",
            location="text: where the copy is",
            file_sha256="text: of the file that was written or uploaded",
            job_id="text: of the load job",
            schema_version="smallint: of the copy's columns",
            snapshot="pg_snapshot: what the export saw",
            cluster="text: the database cluster whose transactions the snapshot counts",
            watermark="timestamp with time zone: when the snapshot was taken",
            started_at="timestamp with time zone: when it began",
            verified_at="timestamp with time zone: when it was proven",
            duration_s="double precision: what it took",
            detail="text: what went wrong",
        ),
    ),
)
def cold_tier(warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """What is archived: copies with a receipt in force, how small they are, which are stale, which attempts failed."""
    from wellos.archive.receipts import pending, receipts  # noqa: PLC0415 - with the rest of the archive

    settings = load_settings()
    store, now = store_name(settings), clock.now()
    with warm.connect(autocommit=True) as conn:
        held = receipts(conn, store)
        waiting = pending(conn, store, _last_due())
        failed = conn.execute(
            "SELECT state, count(*) FROM archive_manifest WHERE store = %s AND state IN ('quarantined', 'abandoned') "
            "AND started_at >= %s GROUP BY 1",
            [store, now - timedelta(days=1)],
        ).fetchall()
    newest = sorted(held, key=lambda one: one.verified_at, reverse=True)
    rows, size = sum(one.rows for one in held), sum(one.bytes for one in held)
    states = dict(failed)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(held),
            "store": store,
            "copies": len(held),
            "readings": rows,
            "bytes": size,
            "bytes_per_reading": round(size / max(1, rows), 3),
            **({"oldest_day": str(held[0].day), "newest_day": str(held[-1].day)} if held else {}),
            "stale": sum(one.stale for one in held),
            "due": len(waiting),
            "of_dropped_days": sum(one.dropped_at is not None for one in held),
            "quarantined_24h": int(states.get("quarantined", 0)),
            "abandoned_24h": int(states.get("abandoned", 0)),
            "observed_at": dg.MetadataValue.timestamp(now),
            "newest_copies": records(
                newest,
                drop=("tenant_id", "connections", "file_sha256", "job_id", "schema_version", "keep_until"),
                most=50,
            ),
            "due_table": records(waiting),
        }
    )


@dg.asset_check(
    asset=cold_tier,
    name="verified",
    description=(
        "Every tenant's day that has been over for `WELLOS_ARCHIVE_AFTER_DAYS` and is in the warm tier has a receipt "
        "in force that is not stale. A warning for the newest of them, and for days that changed since."
    ),
)
def verified(warm: Warm) -> dg.AssetCheckResult:
    """Look for what is due and not archived."""
    from wellos.archive.receipts import pending  # noqa: PLC0415 - with the rest of the archive

    last = _last_due()
    with warm.connect(autocommit=True) as conn:
        waiting = pending(conn, store_name(load_settings()), last)
    late = [one for one in waiting if one.failed or (one.reason == "new" and (last - one.day).days > _GRACE_DAYS)]
    counts = Counter(one.reason for one in waiting)
    return dg.AssetCheckResult(
        passed=not waiting,
        severity=dg.AssetCheckSeverity.ERROR if late else dg.AssetCheckSeverity.WARN,
        description="\n".join(_sentence(one) for one in (late or waiting)[:20]) or None,
        metadata={"new": counts["new"], "changed": counts["changed"], "late": len(late), "due": records(waiting)},
    )


def _sentence(one: "Pending") -> str:
    tried = f", {one.failed} attempts failed" if one.failed else ""
    return f"{one.tenant} {one.day} is {'not archived' if one.reason == 'new' else 'changed since'}{tried}"


@dg.asset_check(
    asset=cold_tier,
    name="copy_is_sound",
    description=(
        f"{_COPIES} copies in the archive, chosen by the hour, are still what was proven: the store adds them up by "
        "its own engine. `wellos archive --verify` looks at all and repairs what it can."
    ),
)
def copy_is_sound(warm: Warm, cold: Cold, clock: PlatformClock) -> dg.AssetCheckResult:
    """Add some copies up once more."""
    from wellos.tiers.soundness import sound  # noqa: PLC0415 - NumPy, only when it runs

    seed = f"cold {clock.now():%Y-%m-%dT%H:%M}"
    with cold.open() as store, warm.connect(autocommit=True) as conn:
        found = sound(conn, store, seed, copies=_COPIES)
    wrong = [one for one in found if one.problem]
    lines = [f"{one.tenant} {one.day} ({one.location}): {one.problem}" for one in wrong]
    remedy = ["Run `wellos archive --verify`: it archives anew what is still in the warm tier."] if wrong else []
    return dg.AssetCheckResult(
        passed=not wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description="\n".join([*lines, *remedy]) or f"{len(found)} copies are what was proven",
        metadata={
            "copies": len(found),
            "readings": sum(one.rows for one in found),
            "wrong": len(wrong),
            "seed": seed,
            "looked_at": records(found),
        },
    )


def _last_due() -> date:
    from wellos.archive.ranges import last_due_day  # noqa: PLC0415 - with the rest of the archive

    settings = load_settings()
    return last_due_day(settings, settings.make_clock())
