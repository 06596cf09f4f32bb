"""What `wellos up` and `wellos status` show of the data that flows: connections, readings a second, lag, spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from wellos.clock import to_micros
from wellos.errors import UnreachableError
from wellos.ingest_status import connection_states, instances
from wellos.storage import warm

if TYPE_CHECKING:
    from datetime import datetime

    from wellos.settings import Settings

__all__ = ["NOTHING", "gather"]

NOTHING: dict[str, Any] = {"connections": [], "ingest": None, "error": ""}
_HEARTBEAT_S = 60.0


def gather(settings: Settings) -> dict[str, Any]:
    """Read the figures from the database; `error` says why there are none."""
    now = settings.make_clock().now()
    try:
        with warm.connect(settings, autocommit=True) as connection:
            found = connection_states(connection)
            running = [one for one in instances(connection) if (now - one.heartbeat_at).total_seconds() < _HEARTBEAT_S]
    except (UnreachableError, psycopg.Error) as error:
        return {**NOTHING, "error": str(error).splitlines()[0]}
    left = [one.spool_seconds_left for one in running if one.spool_seconds_left is not None]
    ingest = {
        "instances": len(running),
        "readings_per_s": sum(one.readings_per_s or 0.0 for one in found if one.state == "connected"),
        "lag_s": max((one.lag_s(now) for one in running), default=0.0),
        "spool_rows": sum(one.spool_rows for one in running),
        "spool_bytes": sum(one.spool_bytes for one in running),
        "spool_seconds_left": min(left, default=None),
    }
    connections = [
        {
            "tenant": one.tenant,
            "name": one.connection,
            "protocol": one.protocol,
            "enabled": one.enabled,
            "tags": one.tags,
            "state": one.state,
            "since_us": _micros(one.since),
            "last_reading_us": _micros(one.last_reading_at),
            "readings_per_s": one.readings_per_s,
            "readings_total": one.readings_total,
            "error": one.error or "",
            "loss_window": one.loss_window or "",
        }
        for one in found
    ]
    return {"connections": connections, "ingest": ingest, "error": ""}


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)
