"""Rate of COPY into `readings`, in transactions of 20,000 rows, beside that into a table with neither index nor log."""

from __future__ import annotations

from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.clock import WallClock, to_micros
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.copy import copy_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from datetime import datetime

    from wellos.storage.warm import PgConnection

ROWS, TAGS = 20_000, 5_000


def rates(connection: PgConnection, start: datetime, batches: int, table: str = "readings") -> list[float]:
    """Rows a second of each batch: every tag once a second from `start` on."""
    rng, clock = np.random.default_rng(1), WallClock()
    connection.execute("SELECT ensure_readings_partitions(%s::date[])", ([start.date()],))
    found = []
    for number in range(batches):
        seconds = number * (ROWS // TAGS) + np.arange(ROWS) // TAGS
        values = rng.normal(100, 5, ROWS).round(2)
        batch = pack(to_micros(start) + seconds * 1_000_000, values, np.arange(ROWS) % TAGS + 1, 2)
        begun = clock.monotonic()
        with connection.transaction(), connection.cursor() as cursor:
            copy_readings(cursor, batch, table)
        found.append(ROWS / (clock.monotonic() - begun))
    return found


def main(argv: list[str]) -> int:
    """Report the median and the best rate."""
    options = parser("copy_readings", __doc__)
    add_database_option(options)
    options.add_argument("--batches", type=int, default=40)
    options.add_argument(
        "--without-trigger", action="store_true", help="plain PostgreSQL: without what keeps its aggregates right"
    )
    options.add_argument(
        "--late", action="store_true", help="copy below the watermark of the aggregates, where that has work to do"
    )
    chosen, machine = options.parse_args(argv), Machine.read()
    with (
        database(chosen.database_url) as url,
        connect(load_settings(database_url=url), autocommit=True) as connection,
    ):
        noon = WallClock().now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
        if chosen.without_trigger:
            connection.execute("ALTER TABLE readings DISABLE TRIGGER USER")
        if chosen.late:
            connection.execute("INSERT INTO readings VALUES (%s, 1, 1, 2, 0)", (noon + timedelta(days=2),))
            connection.execute("CALL refresh_aggregates()")
        found = rates(connection, noon, chosen.batches)
        connection.execute("CREATE UNLOGGED TABLE bare AS SELECT * FROM readings WHERE false")
        limit = median(rates(connection, noon, chosen.batches, "bare"))
        report = Report(
            "copy_readings",
            {"rows/s, median": median(found), "rows/s, best": max(found)},
            {"rows/s into a bare table, median": limit},
            median(found) / limit,
            (versions(url),),
        )
    report.show(machine, as_json=chosen.json)
    return 0
