"""The warm tier: the chunk or partition of each day, compressed or not, and what nobody needs."""

from datetime import timedelta

import dagster as dg

from wellos.tiers import warm as tier
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import OPERATIONS_TEAM, columns
from wellos_dagster.tables import records

__all__ = ["warm_tier"]


@dg.asset(
    deps=["readings"],
    group_name="tiers",
    owners=[OPERATIONS_TEAM],
    kinds={"postgres", "sql"},
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=2), warn_window=timedelta(hours=26)),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
    metadata={
        "dagster/uri": "readings",
        "dagster/column_schema": columns(
            day="date: the UTC day; null: rows whose day has no partition yet",
            relation="text: chunk or partition",
            rows="bigint: by the database's statistics",
            dead_rows="bigint: left by updates and deletes, not yet vacuumed",
            bytes="bigint: table, indexes and what is compressed",
            index_bytes="bigint: indexes alone",
            compressed="boolean: by TimescaleDB's columnstore",
            before_bytes="bigint: what it took before it was compressed",
            after_bytes="bigint: what it took after",
        ),
    },
)
def warm_tier(warm: Warm, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """What the readings take in the database, by day: rows, bytes, compression, dead rows; and indexes nobody uses.

    Changes nothing: TimescaleDB compresses by its own policy, plain PostgreSQL cannot.
    """
    with warm.connect(autocommit=True) as conn:
        days = tier.warm_days(conn)
        unused = tier.unused_indexes(conn)
    total = tier.totals(days)
    ratio = {} if total.ratio is None else {"compression_ratio": round(total.ratio, 2)}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": total.rows,
            "days": total.days,
            "bytes": total.bytes,
            "index_bytes": total.index_bytes,
            "bytes_per_reading": round(total.bytes / max(1, total.rows), 2),
            "compressed_days": total.compressed_days,
            **ratio,
            "dead_rows": total.dead_rows,
            "dead_share_pct": round(100 * total.dead_rows / max(1, total.rows + total.dead_rows), 2),
            "unused_indexes": len(unused),
            "unused_index_bytes": sum(index.bytes for index in unused),
            "observed_at": dg.MetadataValue.timestamp(clock.now()),
            "day_table": records(reversed(days)),
            "unused_index_table": records(unused),
        }
    )
