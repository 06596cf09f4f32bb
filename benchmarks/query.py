"""Milliseconds of dashboard queries on aggregates and on readings, beside the same rows from a plain table."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import cycle, islice
from threading import Barrier
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.query_catalog import catalog, compare, copy_of
from benchmarks.query_load import Span, find_field, find_span, load
from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.clock import WallClock
from wellos.settings import load_settings
from wellos.storage.warm import connect, engine

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

    from psycopg import sql

    from benchmarks.query_catalog import Query
    from benchmarks.query_load import Field
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

SCALES = {1: (30, 30, 30), 10: (300, 300, 2), 100: (3000, 2, 2)}
"""Days; those with readings; those whose aggregates the database makes itself."""


@dataclass(frozen=True, slots=True)
class _Times:
    """Quantiles of one statement, ms."""

    p50: float
    p95: float


def measure(
    settings: Settings, statement: sql.Composed, asked: Sequence[dict[str, Any]], clients: int, each: int, warm: int
) -> _Times:
    """Run a prepared statement `each` times in each client at once, until its last row is here, undecoded."""
    ready, clock = Barrier(clients), WallClock()

    def client(number: int) -> list[float]:
        taken = []
        with connect(settings, autocommit=True) as db, db.cursor(binary=True) as cursor:
            turns = islice(cycle(asked), number, None)
            for _ in range(warm):
                cursor.execute(statement, next(turns), prepare=True)
            ready.wait()
            for _ in range(each):
                parameters = next(turns)
                begun = clock.monotonic()
                cursor.execute(statement, parameters, prepare=True)
                taken.append(1000 * (clock.monotonic() - begun))
        return taken

    with ThreadPoolExecutor(clients) as pool:
        times = np.concatenate([np.array(taken) for taken in pool.map(client, range(clients))])
    return _Times(*(float(value) for value in np.percentile(times, (50, 95))))


def main(argv: list[str]) -> int:
    """Report the quantiles of every query."""
    options = _options()
    chosen = options.parse_args(argv)
    if chosen.keep and not chosen.database_url:
        options.error("--keep needs --database-url: an embedded server goes with the run")
    machine = Machine.read()
    kept = nullcontext(chosen.use) if chosen.use else database(chosen.database_url, keep=chosen.keep)
    with kept as url:
        settings = load_settings(database_url=url)
        with connect(settings, autocommit=True) as db:
            report = _report(db, settings, chosen, versions(url))
    report.show(machine, as_json=chosen.json)
    return 0


def _options() -> argparse.ArgumentParser:
    options = parser("query", __doc__)
    add_database_option(options)
    options.add_argument(
        "--scale",
        type=int,
        choices=SCALES,
        default=1,
        help="1: 30 days, 10: 300 days, 100: 3,000 days without readings",
    )
    options.add_argument("--days", type=int, help="whole days of history, instead of those of the scale")
    options.add_argument("--wells", type=int, default=12, help="of 20 tags each, a reading a minute (default: 12)")
    options.add_argument("--clients", default="1,16", help="numbers of clients at once (default: 1,16)")
    options.add_argument("--queries", type=int, default=100, help="of each kind and client, on aggregates")
    options.add_argument(
        "--raw-queries",
        type=int,
        default=5,
        help="of each kind on readings, shared by the clients; 0: nothing on readings, and no comparison of answers",
    )
    options.add_argument("--keep", action="store_true", help="leave the database, and say its address")
    options.add_argument("--use", metavar="URL", help="measure on a database that was kept, instead of loading one")
    return options


def _report(db: PgConnection, settings: Settings, chosen: argparse.Namespace, server: str) -> Report:
    figures: dict[str, float] = {}
    if chosen.use:
        span = find_span(db)
    else:
        days, raw_days, refreshed_days = SCALES[chosen.scale]
        days = chosen.days or days
        span = Span.until_now(days, max(raw_days, days if chosen.scale < 100 else 0), refreshed_days)
        figures |= load(db, span, chosen.wells)
    field, limit, shares = find_field(db), dict[str, float](), list[float]()
    figures["rows that agree with readings"] = 0
    for number, query in enumerate(catalog(span)):
        raw = chosen.raw_queries > 0 and query.since >= span.day(span.raw_days)
        plain = copy_of(query, db, number)
        if raw:
            figures["rows that agree with readings"] += _verify(db, query, field)
        for clients in map(int, chosen.clients.split(",")):
            _tell(f"{query.name}, {clients} at once")
            name = query.name if clients == 1 else f"{query.name}, {clients} clients"
            told, bare = (
                measure(settings, query.on_aggregate(relation), _asked(query, field), clients, chosen.queries, 12)
                for relation in (None, plain)
            )
            _add(figures, f"{name}: aggregate", told)
            _add(limit, f"{name}: plain table", bare)
            if raw:
                slow = measure(
                    settings,
                    query.on_readings(engine(db)),
                    _asked(query, field),
                    clients,
                    -(-chosen.raw_queries // clients),
                    1 if clients == 1 else 0,
                )
                _add(figures, f"{name}: readings", slow)
                figures[f"{name}: times faster, p50"] = slow.p50 / told.p50
            shares.append(bare.p50 / told.p50)
    return Report("query", figures, limit, min(shares), (server,))


def _asked(query: Query, field: Field) -> list[dict[str, Any]]:
    """Every well once, or the first tag of every well: what is asked for changes from one query to the next."""
    if not query.one:
        return [query.parameters(0)]
    step = len(field.tags) // len(field.wells)
    return [query.parameters(key) for key in (field.wells if query.key == "well_id" else field.tags[::step])]


def _verify(db: PgConnection, query: Query, field: Field) -> int:
    """Compare the answers for the first and the last well or tag, or for all."""
    rows = 0
    asked = _asked(query, field)
    for parameters in asked[:1] + asked[1:][-1:]:
        known = db.execute(query.on_readings(engine(db)), parameters, binary=True).fetchall()
        rows += compare(query, known, db.execute(query.on_aggregate(), parameters, binary=True).fetchall())
    return rows


def _add(figures: dict[str, float], name: str, times: _Times) -> None:
    figures[f"{name} p50 ms"], figures[f"{name} p95 ms"] = times.p50, times.p95


def _tell(what: str) -> None:
    if sys.stderr.isatty():
        print(what, file=sys.stderr)
