"""Hit rate of the query cache and latency with and without it, on a dashboard trace, beside GETs of as many bytes."""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import redis

from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.aggregates import day_floor
from wellos.clock import WallClock, to_micros
from wellos.embedded.redis import running_redis
from wellos.query.cache import PART_PREFIX, STATS_KEY
from wellos.query.reader import Reader
from wellos.query.watch import watch_closed_days
from wellos.readings import pack
from wellos.settings import Settings, load_settings
from wellos.storage.copy import copy_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from datetime import datetime

    from wellos.readings import Readings
    from wellos.storage.warm import PgConnection

_SPEED = 15
"""Platform seconds in one of the machine's: a dashboard that is refreshed every 15 s is, here, every second."""
_REFRESH_S, _TTL_S = 15, 300
_TAGS = 6
_MINUTE_US = 60_000_000
_PANELS = (  # tags, length, interval
    (2, timedelta(hours=24), "raw"),
    (3, timedelta(days=7), "5min"),
    (6, timedelta(days=30), "1hour"),
    (6, timedelta(days=365), "1day"),
)
_REGISTER = """
WITH tenant AS (INSERT INTO tenants (slug, name) VALUES ('benchmark', 'Benchmark') RETURNING tenant_id),
well AS (
    INSERT INTO wells (tenant_id, name, lift_type)
    SELECT tenant_id, 'W' || i, 'esp' FROM tenant, generate_series(1, %(wells)s) i
    RETURNING tenant_id, well_id
),
connection AS (
    INSERT INTO scada_connections (tenant_id, name, protocol, config)
    SELECT tenant_id, 'plc', 'modbus', '{}' FROM tenant
    RETURNING connection_id
)
INSERT INTO tags (tenant_id, well_id, connection_id, name, address, interval_s)
SELECT tenant_id, well_id, connection_id, 't' || i, i::text, 60
FROM well, connection, generate_series(1, %(tags)s) i
RETURNING tag_id
"""


@dataclass(frozen=True, slots=True)
class _Trace:
    """What one run of the trace cost."""

    spent: Sequence[float]
    """Seconds of each query."""
    hits: int
    misses: int
    late: int
    """Times that the clients were not done when the next refresh was due."""


def _store(db: PgConnection, readings: Readings) -> None:
    days = np.unique(readings["time"] // 86_400_000_000).astype("datetime64[D]").tolist()
    db.execute("SELECT ensure_readings_partitions(%s)", (days,))
    with db.transaction(), db.cursor() as cursor:
        copy_readings(cursor, readings)
        cursor.execute("SELECT note_readings_changed(%s)", (days,))


def _history(db: PgConnection, tags: Sequence[int], until: datetime, days: int) -> None:
    """Store a reading a tag and minute of these days, and of today so far."""
    rng, last = np.random.default_rng(1), to_micros(until)
    day_us = to_micros(day_floor(until)) - days * 86_400_000_000
    while day_us < last:
        times = np.arange(day_us, min(day_us + 86_400_000_000, last), _MINUTE_US)
        values = rng.normal(1000, 50, len(times) * len(tags)).round(2)
        _store(db, pack(np.tile(times, len(tags)), values, np.repeat(np.array(tags), len(times)), 2))
        day_us += 86_400_000_000
    db.execute("CALL refresh_aggregates()")


def _look(reader: Reader, well: int) -> list[float]:
    """Refresh one dashboard; return the seconds of each of its panels."""
    spent = []
    now = reader.now()
    for tags, length, interval in _PANELS:
        begun = time.perf_counter()
        names = [f"t{number + 1}" for number in range(tags)]
        reader.readings("benchmark", f"W{well + 1}", names, now - length, now, interval)
        spent.append(time.perf_counter() - begun)
    return spent


def _run(settings: Settings, tags: Sequence[int], chosen: argparse.Namespace) -> _Trace:
    """Refresh every client's dashboard at the pace of the platform, while readings come, late ones among them."""
    dice, spent, late = random.Random(1), [], 0
    clock = settings.make_clock()
    with (
        redis.Redis.from_url(settings.redis_url.get_secret_value()) as client,  # type: ignore[union-attr]
        connect(settings, autocommit=True) as db,
        Reader(settings) as reader,
        ThreadPoolExecutor(chosen.clients) as clients,
    ):
        client.flushall()
        due = time.perf_counter()
        for step in range(chosen.steps):
            moment = clock.micros()
            _store(db, pack(moment + np.arange(len(tags)), 1000.0, np.array(tags), 2))
            if step % 8 == 4:
                back = dice.randrange(1, chosen.days) * 86_400_000_000
                _store(db, pack([moment - back + step], 1000.0, dice.choice(tags), 2))
            if step % 4 == 3:
                db.execute("CALL refresh_aggregates()")
            looks = clients.map(lambda number: _look(reader, number % chosen.wells), range(chosen.clients))
            spent += [each for look in looks for each in look]
            due += _REFRESH_S / _SPEED
            late += time.perf_counter() > due
            time.sleep(max(0.0, due - time.perf_counter()))
        reader.close()
        counted = client.hgetall(STATS_KEY)
    return _Trace(spent, int(counted.get(b"hits", 0)), int(counted.get(b"misses", 0)), late)


def _limit(settings: Settings, blocks: int) -> list[float]:
    """Seconds to GET as many entries as a query uses, whatever is in them."""
    with redis.Redis.from_url(settings.redis_url.get_secret_value()) as client:  # type: ignore[union-attr]
        names = client.keys(PART_PREFIX + "*") or [b"none"]
        dice, spent = random.Random(1), []
        for _ in range(500):
            some = dice.choices(names, k=blocks)
            begun = time.perf_counter()
            client.mget(some)
            spent.append(time.perf_counter() - begun)
    return spent


def _percentiles(spent: Sequence[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    cuts = statistics.quantiles(spent, n=100)
    return 1000 * cuts[49], 1000 * cuts[94]


def main(argv: list[str]) -> int:
    """Run the trace with the cache and without."""
    options = parser("cache", __doc__)
    add_database_option(options)
    options.add_argument("--wells", type=int, default=12)
    options.add_argument("--clients", type=int, default=16, help="dashboards of four panels, refreshed together")
    options.add_argument("--steps", type=int, default=60, help="refreshes of each, a second apart that stands for 15")
    options.add_argument("--days", type=int, default=8, help="of history, a reading a tag and minute")
    chosen, machine = options.parse_args(argv), Machine.read()
    anchor = WallClock().now()
    start = day_floor(anchor) - timedelta(hours=12)
    clock = f"{start:%Y-%m-%dT%H:%M:%SZ}@{anchor:%Y-%m-%dT%H:%M:%SZ}*{_SPEED}"
    with (
        tempfile.TemporaryDirectory() as folder,
        running_redis(Path(folder) / "redis") as server,
        database(chosen.database_url) as url,
    ):
        kept = load_settings(
            database_url=url, redis_url=server.url, data_dir=Path(folder), clock=clock, cache_s=_TTL_S // _SPEED
        )
        with connect(kept, autocommit=True) as db:
            arguments = {"wells": chosen.wells, "tags": _TAGS}
            tags = sorted(tag for (tag,) in db.execute(_REGISTER, arguments).fetchall())
            _history(db, tags, kept.make_clock().now(), chosen.days)
        watch_closed_days(kept.model_copy(update={"raw_days": 400}))
        without = _run(kept.model_copy(update={"cache_s": 0}), tags, chosen)
        cached = _run(kept, tags, chosen)
        blocks = max(1, round((cached.hits + cached.misses) / len(cached.spent)))
        limit = _limit(kept, blocks)
        servers = (versions(url), f"Redis {redis.Redis.from_url(server.url).info('server')['redis_version']}")
    _report(cached, without, limit, blocks, servers).show(machine, as_json=chosen.json)
    return 0


def _report(cached: _Trace, without: _Trace, limit: Sequence[float], blocks: int, servers: tuple[str, ...]) -> Report:
    with_50, with_95 = _percentiles(cached.spent)
    without_50, without_95 = _percentiles(without.spent)
    get_50, get_95 = _percentiles(limit)
    figures = {
        "hit rate, %": 100 * cached.hits / max(1, cached.hits + cached.misses),
        "queries": float(len(cached.spent)),
        "blocks a query": float(blocks),
        "ms a query with the cache, p50": with_50,
        "ms a query with the cache, p95": with_95,
        "ms a query without, p50": without_50,
        "ms a query without, p95": without_95,
        "refreshes that were late with the cache": float(cached.late),
        "refreshes that were late without": float(without.late),
    }
    return Report(
        "cache",
        figures,
        {"ms to GET as many blocks, p50": get_50, "ms to GET as many blocks, p95": get_95},
        get_50 / with_50,
        servers,
    )
