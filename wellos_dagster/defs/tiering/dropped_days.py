"""Days that leave the warm tier once they are proven to be in the cold one, and those that late readings bring back."""

from collections import Counter
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from wellos.settings import load_settings
from wellos_dagster.defs.tiering.cold_archive import POOL
from wellos_dagster.resources import Cold, PlatformClock, Warm
from wellos_dagster.specs import DATA_TEAM, columns, seconds, table_metadata
from wellos_dagster.tables import records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wellos.tiers.leaving import Leaving

__all__ = ["dropped_days", "nothing_is_overdue", "rearchived_days"]

_MOST_DAYS = 62
"""Days of one run; the others have the next night."""
_SHOWN_FIRST = ("failed", "dropped", "busy", "kept")
_OVERDUE_WARN, _OVERDUE_ERROR = timedelta(days=2), timedelta(days=14)
_METADATA = table_metadata(
    "reading_days",
    columns(
        day="date: the UTC day",
        watched_at="timestamp with time zone: since when its changes are noted",
        settled_at="timestamp with time zone: since when that is every change",
        dropped_at="timestamp with time zone: when it left the warm tier; null while it is there",
        restored_at="timestamp with time zone: when it was brought back",
        keep_until="timestamp with time zone: a restored day stays until then",
    ),
)
_RETRY = dg.RetryPolicy(max_retries=1, delay=60)


@dg.asset(
    deps=["cold_archive"],
    group_name="tiers",
    owners=[DATA_TEAM],
    kinds={"postgres", "sql"},
    pool=POOL,
    retry_policy=_RETRY,
    metadata=_METADATA,
)
def dropped_days(context: dg.AssetExecutionContext, warm: Warm, cold: Cold) -> dg.MaterializeResult[None]:
    """Drops days older than `WELLOS_RAW_DAYS` from the warm tier, each only when every tenant's copy is proven again.

    The store adds up its copies, and PostgreSQL the day, under a lock that keeps writers out; ingest must not hold
    readings of it. A day that does not pass stays, and the table says why and what to do. Those behind it are tried all
    the same; where one fails, the run fails at its end and names it.
    """
    from wellos.tiers.leaving import drop_due_days  # noqa: PLC0415 - NumPy, only when it runs

    settings = load_settings()
    clock = settings.make_clock()
    with cold.open() as store, warm.connect(autocommit=True) as conn:
        return _told(context, drop_due_days(conn, store, settings, clock, most=_MOST_DAYS))


@dg.asset(
    deps=["dropped_days"],
    group_name="tiers",
    owners=[DATA_TEAM],
    kinds={"postgres", "sql"},
    pool=POOL,
    retry_policy=_RETRY,
    metadata=_METADATA,
)
def rearchived_days(context: dg.AssetExecutionContext, cold: Cold) -> dg.MaterializeResult[None]:
    """Archives dropped days anew for which readings came since: restored, archived with them, dropped again.

    Until then those readings are beside the copy, and reads merge both. A run that is cut off leaves each day whole in
    one of the tiers, and the next goes on. Where a day fails, the others are done all the same, and the run fails at
    its end.
    """
    from wellos.tiers.leaving import rearchive_late_days  # noqa: PLC0415 - NumPy, only when it runs

    settings = load_settings()
    with cold.open() as store:
        return _told(context, rearchive_late_days(settings, store, settings.make_clock(), most=_MOST_DAYS))


def _told(context: dg.AssetExecutionContext, found: "Iterable[Leaving]") -> dg.MaterializeResult[None]:
    rows: list[Leaving] = []
    for one in found:
        rows.append(one)
        context.log.info("%s %s %s", one.day, one.outcome, one.reason)
    outcomes = Counter(one.outcome for one in rows)
    reasons: dict[str, Any] = {"first_reason": next((one.reason for one in rows if one.reason), "none")}
    shown = sorted(rows, key=lambda one: _SHOWN_FIRST.index(one.outcome))
    metadata = {
        "dagster/row_count": len(rows),
        "days_dropped": outcomes["dropped"],
        "days_kept": outcomes["kept"],
        "days_busy": outcomes["busy"],
        "days_failed": outcomes["failed"],
        "rows_dropped": sum(one.rows for one in rows),
        "bytes_freed": sum(one.bytes for one in rows),
        "duration_s": seconds(sum(one.seconds for one in rows)),
        **reasons,
        "day_table": records(shown),
    }
    if failed := [f"{one.day}: {one.reason}" for one in rows if one.outcome == "failed"]:
        raise dg.Failure(description="\n".join(failed), metadata=metadata, allow_retries=False)
    return dg.MaterializeResult(metadata=metadata)


@dg.asset_check(
    asset=dropped_days,
    name="nothing_is_overdue",
    description=(
        f"No day stays in the warm tier for more than {_OVERDUE_WARN.days} days beyond `WELLOS_RAW_DAYS`, an error "
        f"from {_OVERDUE_ERROR.days} on: says what stands against it. Restored days count from when they may go."
    ),
)
def nothing_is_overdue(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Look for days that should have left."""
    from wellos.archive.obstacles import obstacles  # noqa: PLC0415 - with the rest of the archive
    from wellos.tiers.inventory import store_name  # noqa: PLC0415 - same
    from wellos.tiers.leaving import past_retention  # noqa: PLC0415 - same

    settings, now = load_settings(), clock.now()
    store = store_name(settings)
    with warm.connect(autocommit=True) as conn:
        kept = dict(conn.execute("SELECT day, keep_until FROM reading_days WHERE keep_until IS NOT NULL").fetchall())

        def since(moment: datetime) -> list[date]:
            days = past_retention(conn, store, settings, moment)
            return [day for day in days if day not in kept or kept[day] < moment]

        overdue, worst = since(now - _OVERDUE_WARN), bool(since(now - _OVERDUE_ERROR))
        said = [f"{day}: {'; '.join(obstacles(conn, store, day, now, settings))}" for day in overdue[:10]]
    return dg.AssetCheckResult(
        passed=not overdue,
        severity=dg.AssetCheckSeverity.ERROR if worst else dg.AssetCheckSeverity.WARN,
        description="\n".join(said) or None,
        metadata={"days": len(overdue), **({"oldest": str(overdue[0])} if overdue else {})},
    )
