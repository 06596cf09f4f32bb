"""Checks of what comes in: is it recent, is it stored, does anybody still write it."""

from datetime import datetime

import dagster as dg

from wellos import verdicts
from wellos.audit import audit
from wellos.settings import load_settings
from wellos.verdicts import ENTRY_HOURS, HEARTBEAT_S, LAG_ERROR_S, LAG_WARN_S, QUIET_ERROR_S, QUIET_WARN_S
from wellos_dagster.resources import PlatformClock, Warm
from wellos_dagster.specs import seconds
from wellos_dagster.tables import records

__all__ = ["INGEST_CHECKS"]


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
        return _result(verdicts.newest_reading(conn, clock.now(), clock.pace()))


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
        return _result(verdicts.ingest_lag(conn, clock.now(), clock.pace()))


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
    terms = (
        *("received", "stored", "repeated", "replaced", "superseded", "quarantined", "poisoned", "fenced"),
        *("retried", "deleted", "duplicates", "shed", "pending"),
    )
    unseen = None if found.spool_id else "there is no spool in WELLOS_DATA_DIR: what waits in one was not looked at"
    return dg.AssetCheckResult(
        passed=found.holds,
        description="\n".join(found.problems[:20]) or unseen,
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
        return _result(verdicts.newest_entry(conn, clock.now()))


def _result(verdict: verdicts.Verdict) -> dg.AssetCheckResult:
    metadata: dict[str, dg.MetadataValue] = {}
    for name, value in verdict.figures.items():
        if isinstance(value, datetime):
            metadata[name] = dg.MetadataValue.timestamp(value)
        else:
            metadata[name] = seconds(value) if name.endswith("_s") else dg.MetadataValue.int(int(value))
    metadata |= {name: records(rows) for name, rows in verdict.tables.items()}
    severity = dg.AssetCheckSeverity[verdict.severity]
    return dg.AssetCheckResult(
        passed=verdict.passed, severity=severity, description=verdict.description, metadata=metadata
    )


INGEST_CHECKS = [newest_reading, ingest_lag, accounting, newest_entry]
