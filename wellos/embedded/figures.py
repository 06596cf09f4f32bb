"""What `wellos up` and `wellos status` show of the data that flows: connections, readings a second, lag, spool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from wellos.clock import pace, to_micros
from wellos.errors import UnreachableError
from wellos.ingest_status import connection_states, instances
from wellos.storage import warm

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from wellos.ingest_status import ConnectionState, Instance
    from wellos.settings import Settings

__all__ = ["NOTHING", "gather"]

NOTHING: dict[str, Any] = {"connections": [], "ingest": None, "error": ""}
_HEARTBEAT_S = 60.0


def gather(settings: Settings) -> dict[str, Any]:
    """Read the figures from the database; `error` says why there are none.

    Where no ingest lives, `ingest` is None and what it last said of its connections is not repeated.
    """
    clock = settings.make_clock()
    now, oldest_s = clock.now(), _HEARTBEAT_S * pace(clock)
    try:
        with warm.connect(settings, autocommit=True) as connection:
            found = connection_states(connection)
            running = [one for one in instances(connection) if (now - one.heartbeat_at).total_seconds() < oldest_s]
    except (UnreachableError, psycopg.Error) as error:
        return {**NOTHING, "error": str(error).splitlines()[0]}
    connections = [
        {
            "tenant": one.tenant,
            "name": one.connection,
            "protocol": one.protocol,
            "enabled": one.enabled,
            "tags": one.tags,
            "state": _state(one, running),
            "since_us": _micros(one.since),
            "last_reading_us": _micros(one.last_reading_at),
            "readings_per_s": one.readings_per_s if running else None,
            "readings_total": one.readings_total,
            "error": one.error or "",
            "loss_window": one.loss_window or "",
            "owner": _owner(one),
        }
        for one in found
    ]
    return {"connections": connections, "ingest": _of_all(running, found, now), "error": ""}


def _state(one: ConnectionState, running: Sequence[Instance]) -> str:
    """Return what its instance says; `unclaimed` where instances live and none of them reads it."""
    if not running:
        return "unknown"
    return "unclaimed" if one.enabled and (one.leased is False or one.since is None) else one.state


def _owner(one: ConnectionState) -> dict[str, Any] | None:
    """Return the instance that holds the lease."""
    if not one.leased:
        return None
    return {
        "spool_id": one.owner,
        "hostname": one.hostname or "",
        "pid": one.pid,
        "term": one.term,
        "lease_until_us": _micros(one.lease_until),
    }


def _of_all(running: list[Instance], connections: Sequence[ConnectionState], now: datetime) -> dict[str, Any] | None:
    """Return what the instances of ingest come to together."""
    if not running:
        return None
    left = [one.spool_seconds_left for one in running if one.spool_seconds_left is not None]
    return {
        "instances": len(running),
        "unclaimed": sum(_state(one, running) == "unclaimed" for one in connections),
        "readings_per_s": sum(one.readings_per_s or 0.0 for one in connections if one.state == "connected"),
        "lag_s": max(one.lag_s(now) for one in running),
        "spool_rows": sum(one.spool_rows for one in running),
        "spool_bytes": sum(one.spool_bytes for one in running),
        "spool_seconds_left": min(left, default=None),
    }


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else to_micros(moment)
