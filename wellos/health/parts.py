"""One question to each part of the platform: a sentence when it is well, an error of ours when it is not."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeAlias

import httpx
import psycopg
import redis

from wellos.clock import WallClock, pace
from wellos.embedded.graphql import dagster_health, runs_ended
from wellos.embedded.verify import verify_dagster, verify_mqtt
from wellos.errors import UnreachableError, WellosError
from wellos.health.report import Cache, Part, Runs
from wellos.ingest_status import instances
from wellos.storage import hot, warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.health.report import State
    from wellos.settings import Settings
    from wellos.storage.cold.parquet_marker import Marker

__all__ = ["CACHE_STATISTICS", "PARTS", "ask", "cache", "runs"]

CACHE_STATISTICS = "wellos:cache:stats"
"""Hash in Redis: `hits` and `misses` of the query cache."""
_HEARTBEAT_S = 60.0
_LOW_PCT, _FULL_PCT = 10.0, 2.0
_GIB = 1 << 30
_NOBODY = "wellos_health"
"""A tenant that there is not: asking for it costs nothing, and shows that BigQuery answers us."""
Answer: TypeAlias = "tuple[State, str]"
"""State and detail of a part."""


class _NotSetError(WellosError):
    """No setting names the part."""


def database(settings: Settings) -> Answer:
    """Log in, and ask what it is."""
    with warm.connect(settings, autocommit=True) as conn:
        return "up", str(warm.describe(conn))


def redis_server(settings: Settings) -> Answer:
    """Ping it, and ask for its memory."""
    if settings.redis_url is None:
        raise _NotSetError
    with hot.connect(settings) as client:
        memory = client.info("memory")
    most = int(memory.get("maxmemory", 0))
    used = int(memory["used_memory"])
    limit = f" of {most / _GIB:.2f}" if most else ""
    return ("warning" if most and used > most * (1 - _LOW_PCT / 100) else "up"), f"{used / _GIB:.2f}{limit} GiB used"


def broker(settings: Settings) -> Answer:
    """Log in to the MQTT broker."""
    if settings.mqtt_url is None:
        raise _NotSetError
    verify_mqtt(settings.mqtt_url.get_secret_value())
    return "up", "accepts our login"


def dagster(settings: Settings) -> Answer:
    """Ask the webserver for its version."""
    if settings.dagster_url is None:
        raise _NotSetError
    verify_dagster(settings.dagster_url)
    return "up", "answers"


def code_location(settings: Settings) -> Answer:
    """Ask the webserver whether it has our code."""
    return _companion(settings, "location", "loaded")


def daemon(settings: Settings) -> Answer:
    """Ask the webserver for the daemon's heartbeats."""
    return _companion(settings, "daemon", "all heartbeats are recent")


def _companion(settings: Settings, which: str, well: str) -> Answer:
    if settings.dagster_url is None:
        raise _NotSetError
    try:
        reason: str = getattr(dagster_health(settings.dagster_url), which)
    except (httpx.HTTPError, ValueError, KeyError) as error:
        reason = f"the webserver cannot say: {error}"
    return ("down", reason) if reason else ("up", well)


def ingest(settings: Settings) -> Answer:
    """Look for heartbeats in the database, by the platform's clock."""
    clock = settings.make_clock()
    now, most_s = clock.now(), _HEARTBEAT_S * pace(clock)
    with warm.connect(settings, autocommit=True) as conn:
        known = instances(conn)
    silent = [one for one in known if (now - one.heartbeat_at).total_seconds() >= most_s]
    living = len(known) - len(silent)
    names = ", ".join(f"{one.hostname}:{one.pid} since {one.heartbeat_at:%Y-%m-%d %H:%M:%S}" for one in silent)
    if not living:
        return "down", f"no instance lives{f'; silent: {names}' if names else ''}"
    lag_s = max(one.lag_s(now) for one in known if one not in silent)
    if silent:
        return "warning", f"{living} alive, {len(silent)} silent: {names}. See `wellos ingest --forget`"
    return "up", f"{living} alive, lag {lag_s:.1f} s"


def disk(settings: Settings) -> Answer:
    """Look at the room left where the platform keeps its own files."""
    folders = {"data": settings.data_dir, "cold": settings.cold_dir or settings.data_dir / "cold"}
    state: State = "up"
    said: dict[int, str] = {}
    for name, folder in folders.items():
        there = next((place for place in (folder, *folder.absolute().parents) if place.exists()), Path("/"))
        usage, device = shutil.disk_usage(there), there.stat().st_dev
        left = 100 * usage.free / usage.total
        state = "down" if left < _FULL_PCT or state == "down" else "warning" if left < _LOW_PCT else state
        said.setdefault(device, f"{name}: {usage.free / _GIB:.1f} GiB free ({left:.0f} %)")
    return state, ", ".join(said.values())


def cold_store(settings: Settings) -> Answer:
    """Ask BigQuery for datasets, or look whether the folder is the archive and can be written."""
    from wellos.storage.cold.opening import marker, open_cold  # noqa: PLC0415 - Google's client takes a second

    if settings.bigquery_project is not None:
        with closing(open_cold(settings)) as store:
            store.inventory(_NOBODY)
            store.ready(writing=False)
        return "up", f"BigQuery project {settings.bigquery_project} answers"
    archive = marker(settings)
    folder = archive.folder
    state, known = _is_the_archive(archive)
    if state == "up" and not folder.exists():
        return "up", f"{folder} is made with the first archived day"
    if not os.access(folder, os.R_OK | os.X_OK):
        return "down", f"{folder} cannot be read"
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(b"wellos")
    except OSError as error:
        return "down", f"{folder} cannot be written: {error.strerror}"
    return state, f"{folder}{known}"


def _is_the_archive(archive: Marker) -> Answer:
    """Compare the folder's marker with the database; without an answer of that, nobody can tell whose folder it is."""
    try:
        archive.check()
    except UnreachableError:
        return "warning", ": whether it is the archive the database alone could tell"
    return "up", ""


PARTS: dict[str, Callable[[Settings], Answer]] = {
    "database": database,
    "redis": redis_server,
    "broker": broker,
    "dagster": dagster,
    "code location": code_location,
    "daemon": daemon,
    "ingest": ingest,
    "cold store": cold_store,
    "disk": disk,
}


def ask(name: str, settings: Settings) -> Part:
    """Ask one part; never raises what a broken part can raise."""
    clock = WallClock()
    begun = clock.monotonic()
    state: State
    try:
        state, detail = PARTS[name](settings)
    except _NotSetError:
        state, detail = "unset", "no setting names it, and nothing runs on the data folder"
    except UnreachableError as error:
        state, detail = "down", f"{error.address}: {error.reason}"
    except (WellosError, OSError, psycopg.Error, redis.RedisError) as error:
        state, detail = "down", " ".join(str(error).split())
    return Part(name, state, detail, round(1000 * (clock.monotonic() - begun), 1))


def runs(settings: Settings) -> Runs | None:
    """Return how the Dagster runs of the last 24 hours ended; None where the webserver does not say."""
    if settings.dagster_url is None:
        return None
    try:
        since = WallClock().now().timestamp() - 86_400  # runs are dated by the machine's clock
        return Runs(*(runs_ended(settings.dagster_url, status, since) for status in ("SUCCESS", "FAILURE")))
    except (httpx.HTTPError, ValueError, KeyError):
        return None


def cache(settings: Settings) -> Cache | None:
    """Return the hits and misses of the query cache; None without Redis, or before the first question."""
    if settings.redis_url is None:
        return None
    try:
        with hot.connect(settings) as client:
            hits, misses = client.hmget(CACHE_STATISTICS, ["hits", "misses"])
    except (WellosError, redis.RedisError):
        return None
    return None if hits is None and misses is None else Cache(int(hits or 0), int(misses or 0))
