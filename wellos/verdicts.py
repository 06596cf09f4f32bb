"""What to say of ingest and of the pumpers' entries, and how bad it is: for Dagster's checks and ingest's reports.

`pace` is how many platform seconds pass in one of the machine's (`wellos.clock.pace`): under `--speed` the parts
still work by the machine's clock, so every limit on their promptness is multiplied by it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from wellos.ingest_status import instances, newest_entries, newest_readings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import psycopg

__all__ = [
    "ENTRY_HOURS",
    "HEARTBEAT_S",
    "LAG_ERROR_S",
    "LAG_WARN_S",
    "QUIET_ERROR_S",
    "QUIET_WARN_S",
    "Verdict",
    "ingest_lag",
    "newest_entry",
    "newest_reading",
]

QUIET_WARN_S, QUIET_ERROR_S = 300, 900
HEARTBEAT_S = 60
LAG_WARN_S, LAG_ERROR_S = 60, 600
ENTRY_HOURS = 36
"""Pumpers write at about 06:00 and 18:00: three rounds missed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check's answer; `severity` counts when it did not pass."""

    passed: bool
    severity: Literal["WARN", "ERROR"] = "ERROR"
    description: str | None = None
    figures: Mapping[str, int | float | datetime] = field(default_factory=dict)
    """Durations in seconds are floats whose names end in `_s`."""
    tables: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Dataclass rows."""


def newest_reading(conn: psycopg.Connection, now: datetime, pace: float) -> Verdict:
    """Whether the newest source time of any live tag is recent, and which tags are silent."""
    tags = newest_readings(conn)
    if not tags:
        return Verdict(passed=True, description="the registry has no live tags")
    silent = [tag for tag in tags if tag.silent(now)]
    figures: dict[str, int | float | datetime] = {"tags": len(tags), "silent_tags": len(silent)}
    tables = {"silent": silent[:50]}
    newest = tags[0].time
    if newest is None:
        return Verdict(passed=False, description="no live tag has a reading", figures=figures, tables=tables)
    age = max(0.0, (now - newest).total_seconds())
    return Verdict(
        passed=age <= QUIET_WARN_S * pace,
        severity="ERROR" if age > QUIET_ERROR_S * pace else "WARN",
        figures={**figures, "lag_s": age, "newest_reading": newest},
        tables=tables,
    )


def ingest_lag(conn: psycopg.Connection, now: datetime, pace: float) -> Verdict:
    """Whether an ingest instance lives, and how long what it received waits to be stored."""
    running = instances(conn)
    if not running:
        return Verdict(passed=False, description="no ingest instance is running")
    dead = [one for one in running if now - one.heartbeat_at > timedelta(seconds=HEARTBEAT_S * pace)]
    lag = max(one.lag_s(now) for one in running)
    return Verdict(
        passed=not dead and lag <= LAG_WARN_S * pace,
        severity="ERROR" if dead or lag > LAG_ERROR_S * pace else "WARN",
        description=f"{len(dead)} of {len(running)} instances no longer report" if dead else None,
        figures={
            "lag_s": lag,
            "instances": len(running),
            "spool_rows": sum(one.spool_rows for one in running),
            "spool_bytes": sum(one.spool_bytes for one in running),
        },
        tables={"instance_table": running},
    )


def newest_entry(conn: psycopg.Connection, now: datetime) -> Verdict:
    """Whether every well that has field entries got one lately."""
    wells = newest_entries(conn)
    quiet = [well for well in wells if now - well.received_at > timedelta(hours=ENTRY_HOURS)]
    return Verdict(
        passed=not quiet,
        severity="WARN",
        description=None if wells else "there are no field entries yet",
        figures={
            "wells": len(wells),
            "quiet_wells": len(quiet),
            "entries": sum(well.entries for well in wells),
            "revisions": sum(well.revisions for well in wells),
        },
        tables={"quiet": quiet[:50]},
    )
