"""Removes what Dagster keeps for ever and nobody needs: old log lines of runs, and ticks of what is gone.

Dagster's `retention` purges the ticks of the schedules and sensors there are. Runs are never deleted: with them would
go the history of the assets they materialised.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING

from wellos.storage.sql import query

if TYPE_CHECKING:
    from datetime import datetime

    from wellos.storage.warm import PgConnection

__all__ = ["EVENT_DAYS", "TICK_DAYS", "Cleaned", "clean"]

EVENT_DAYS = 30
TICK_DAYS = 30
"""No shorter than any retention of `dagster.yaml`."""
_BATCH = 20_000
_MOST_BATCHES = 500
_KINDS = [
    *("ENGINE_EVENT", "LOGS_CAPTURED", "RESOURCE_INIT_STARTED", "RESOURCE_INIT_SUCCESS", "STEP_WORKER_STARTING"),
    *("STEP_WORKER_STARTED", "STEP_INPUT", "STEP_OUTPUT", "LOADED_INPUT", "HANDLED_OUTPUT", "OBJECT_STORE_OPERATION"),
]
"""Events of a run that concern no asset; a line that a run logged has no kind at all."""


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was removed, and what is left."""

    events: int
    ticks: int
    runs_left: int
    ticks_left: int
    events_left: int
    event_bytes_left: int
    """The table keeps its size until it is rewritten; the room in it is used again."""


def clean(conn: PgConnection, now: datetime) -> Cleaned:
    """Remove in batches; `conn` is to Dagster's own database, in autocommit mode, `now` is the machine's time."""
    naive = now.astimezone(UTC).replace(tzinfo=None)
    wanted = {"before": naive - timedelta(days=EVENT_DAYS), "kinds": _KINDS, "batch": _BATCH}
    events = 0
    for _ in range(_MOST_BATCHES):
        gone = conn.execute(query("dagster_clean_events"), wanted).rowcount
        events += gone
        if gone < _BATCH:
            break
    ticks = conn.execute(query("dagster_clean_ticks"), {"before": naive - timedelta(days=TICK_DAYS)}).rowcount
    return Cleaned(events, ticks, *conn.execute(query("dagster_sizes")).fetchall()[0])
