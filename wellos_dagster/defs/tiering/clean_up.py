"""The weekly clean-up, in the asset graph."""

from datetime import timedelta
from typing import Any

import dagster as dg
import redis

from wellos.clock import WallClock
from wellos.errors import WellosError
from wellos.settings import load_settings
from wellos.tiers.hot import trim
from wellos.upkeep import dagster as dagster_upkeep
from wellos.upkeep.platform import clean_aggregates, clean_cache, clean_changes, stale_segments
from wellos_dagster.dagster_database import dagster_database
from wellos_dagster.resources import Hot, PlatformClock, Warm
from wellos_dagster.specs import OPERATIONS_TEAM, columns

__all__ = ["clean_up"]


@dg.asset(
    deps=["registry"],
    group_name="operations",
    owners=[OPERATIONS_TEAM],
    kinds={"postgres", "redis"},
    pool="aggregates",
    freshness_policy=dg.FreshnessPolicy.time_window(fail_window=timedelta(days=16), warn_window=timedelta(days=8)),
    metadata={
        "dagster/uri": "clean-up",
        "dagster/column_schema": columns(
            what="text: kind of thing",
            removed="bigint: how many were removed",
            left="bigint: how many are left",
        ),
    },
)
def clean_up(warm: Warm, hot: Hot, clock: PlatformClock) -> dg.MaterializeResult[None]:
    """Removes with age what is neither a reading nor proof of one, and counts it.

    Log lines of Dagster's runs and ticks of schedules and sensors that are gone, after 30 days (of those there are,
    Dagster's own retention; runs and all that says what became of an asset stay); notes of changes that every copy has
    seen; buckets of aggregates beyond `WELLOS_AGGREGATE_DAYS`; keys of the query cache without an end; what Redis holds
    of tags retired long ago. Other keys of the cache go by themselves, as each has its end.

    Stored spool segments are ingest's to remove: it alone knows that its cursor is on disk and what a database that
    fell back to an older state still needs, and ingest that starts would find the spool taken. Those are counted that
    no ingest has removed.
    """
    settings = load_settings()
    rows: list[dict[str, Any]] = []
    remarks: list[str] = []
    with dagster_database() as conn:
        if conn is None:
            remarks.append("Dagster's events were left alone: this instance does not keep them in PostgreSQL")
        else:
            gone = dagster_upkeep.clean(conn, WallClock().now())
            rows.append({"what": "dagster_events", "removed": gone.events, "left": gone.events_left})
            rows.append({"what": "dagster_ticks", "removed": gone.ticks, "left": gone.ticks_left})
    with warm.connect(autocommit=True) as conn:
        rows.append({"what": "reading_changes", "removed": clean_changes(conn, settings), "left": None})
        for relation, buckets in clean_aggregates(conn, settings, clock.now()).items():
            rows.append({"what": relation, "removed": buckets, "left": None})
        try:
            with hot.connect() as client:
                cache = clean_cache(client)
                old = trim(client, conn, settings, settings.make_clock())
            rows.append({"what": "cache_keys", "removed": cache.removed, "left": cache.keys})
            rows.append({"what": "redis_hours", "removed": old.hours, "left": None})
            rows.append({"what": "redis_latest_of_retired_tags", "removed": old.latest, "left": None})
            rows.append({"what": "redis_marks_of_gone_instances", "removed": old.filled, "left": None})
        except (WellosError, redis.RedisError) as error:
            remarks.append(f"Redis was left alone: {error}")
    stale = stale_segments(settings.data_dir / "spool", settings)
    if stale.count:
        remarks.append(f"{stale.count} stored segments of the spool are left by ingest, which does not run on it")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            **{f"{row['what']}_removed": row["removed"] for row in rows},
            "stale_segments": stale.count,
            "stale_segment_bytes": stale.bytes,
            "remarks": "; ".join(remarks) or "none",
            "observed_at": dg.MetadataValue.timestamp(clock.now()),
            "removed": dg.MetadataValue.table([dg.TableRecord(row) for row in rows]),
        }
    )
