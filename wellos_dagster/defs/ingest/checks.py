"""Checks of what comes in: is it recent, is it stored, does anybody still write it."""

from datetime import timedelta

import dagster as dg

from wellos.audit import audit
from wellos.ingest_status import instances, newest_entries, newest_readings
from wellos.settings import load_settings
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import seconds
from wellos_dagster.tables import records

__all__ = ["INGEST_CHECKS"]

QUIET_WARN_S, QUIET_ERROR_S = 300, 900
HEARTBEAT_S = 60
LAG_WARN_S, LAG_ERROR_S = 60, 600
ENTRY_HOURS = 36
"""Pumpers write at about 06:00 and 18:00: three rounds missed."""


@dg.asset_check(
    asset="readings",
    name="newest_reading",
    description=(
        "The newest reading of any live tag is recent by the platform's clock: warns above "
        f"{QUIET_WARN_S // 60} minutes, fails above {QUIET_ERROR_S // 60}. Says which tags are silent."
    ),
)
def newest_reading(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Compare the newest source time with the clock: that something was materialised says nothing about the data."""
    with warm.connect() as conn:
        tags = newest_readings(conn)
    now = clock.now()
    if not tags:
        return dg.AssetCheckResult(passed=True, description="the registry has no live tags")
    silent = [tag for tag in tags if tag.silent(now)]
    metadata: dict[str, dg.MetadataValue] = {
        "tags": dg.MetadataValue.int(len(tags)),
        "silent_tags": dg.MetadataValue.int(len(silent)),
        "silent": records(silent, most=50),
    }
    newest = tags[0].time
    if newest is None:
        return dg.AssetCheckResult(passed=False, description="no live tag has a reading", metadata=metadata)
    age, pace = max(0.0, (now - newest).total_seconds()), clock.pace()
    return dg.AssetCheckResult(
        passed=age <= QUIET_WARN_S * pace,
        severity=dg.AssetCheckSeverity.ERROR if age > QUIET_ERROR_S * pace else dg.AssetCheckSeverity.WARN,
        metadata={**metadata, "lag_s": seconds(age), "newest_reading": dg.MetadataValue.timestamp(newest)},
    )


@dg.asset_check(
    asset="readings",
    name="ingest_lag",
    description=(
        "An ingest instance lives, and nothing it received waits long to be stored: what waits in a spool "
        f"warns above {LAG_WARN_S} s, fails above {LAG_ERROR_S}; so does a heartbeat older than {HEARTBEAT_S} s."
    ),
)
def ingest_lag(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Look at heartbeats and at what waits in the spools."""
    with warm.connect() as conn:
        running = instances(conn)
    now = clock.now()
    if not running:
        return dg.AssetCheckResult(passed=False, description="no ingest instance is running")
    pace = clock.pace()
    dead = [one for one in running if now - one.heartbeat_at > timedelta(seconds=HEARTBEAT_S * pace)]
    lag = max(one.lag_s(now) for one in running)
    return dg.AssetCheckResult(
        passed=not dead and lag <= LAG_WARN_S * pace,
        severity=dg.AssetCheckSeverity.ERROR if dead or lag > LAG_ERROR_S * pace else dg.AssetCheckSeverity.WARN,
        description=f"{len(dead)} of {len(running)} instances no longer report" if dead else None,
        metadata={
            "lag_s": seconds(lag),
            "instances": len(running),
            "spool_rows": sum(one.spool_rows for one in running),
            "spool_bytes": sum(one.spool_bytes for one in running),
            "instance_table": records(running),
        },
    )


@dg.asset_check(
    asset="readings",
    name="accounting",
    description=(
        "Every reading ever received is accounted for: stored, repeated, replaced, in quarantine, shed with its gap, "
        "or waiting in the spool. Counted from the spool, the ledger and the tables, never from a counter."
    ),
    automation_condition=dg.AutomationCondition.missing().newly_true().with_label("first start"),
)
def accounting(warm: Warm) -> dg.AssetCheckResult:
    """Audit the identity; it reads all of `readings` once."""
    with warm.connect(autocommit=True) as conn:
        found = audit(conn, load_settings().data_dir / "spool")
    terms = ("received", "stored", "repeated", "replaced", "superseded", "quarantined", "duplicates", "shed", "pending")
    return dg.AssetCheckResult(
        passed=found.holds,
        description="\n".join(found.problems[:20]) or None,
        metadata={
            **{term: sum(getattr(row, term) for row in found.rows) for term in terms},
            "problems": len(found.problems),
            "connection_table": records(found.rows),
        },
    )


@dg.asset_check(
    asset="field_entries",
    name="newest_entry",
    description=f"Wells that have field entries got one in the last {ENTRY_HOURS} hours by the platform's clock.",
)
def newest_entry(warm: Warm, clock: PlatformClock) -> dg.AssetCheckResult:
    """Say which wells the pumpers no longer write about."""
    with warm.connect() as conn:
        wells = newest_entries(conn)
    now = clock.now()
    quiet = [well for well in wells if now - well.received_at > timedelta(hours=ENTRY_HOURS)]
    return dg.AssetCheckResult(
        passed=not quiet,
        severity=dg.AssetCheckSeverity.WARN,
        description=None if wells else "there are no field entries yet",
        metadata={
            "wells": len(wells),
            "quiet_wells": len(quiet),
            "entries": sum(well.entries for well in wells),
            "revisions": sum(well.revisions for well in wells),
            "quiet": records(quiet, most=50),
        },
    )


INGEST_CHECKS = [newest_reading, ingest_lag, accounting, newest_entry]
