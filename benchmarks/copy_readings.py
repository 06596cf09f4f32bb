"""Rate of COPY into `readings` of the database of WELLOS_DATABASE_URL, in transactions of 20,000 rows.

`--without-trigger` disables the trigger that plain PostgreSQL keeps its aggregates right with; `--late` copies below
the watermark of the aggregates, where that trigger has something to log. Use a database that may be thrown away.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from wellos.clock import WallClock, to_micros
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.storage.copy import copy_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from datetime import datetime

    from wellos.storage.warm import PgConnection

ROWS, TAGS, BATCHES = 20_000, 5_000, 40


def rates(connection: PgConnection, start: datetime) -> list[float]:
    """Rows a second of each batch: every tag once a second from `start` on."""
    rng, clock = np.random.default_rng(1), WallClock()
    connection.execute("SELECT ensure_readings_partitions(%s::date[])", ([start.date()],))
    found = []
    for number in range(BATCHES):
        seconds = number * (ROWS // TAGS) + np.arange(ROWS) // TAGS
        values = rng.normal(100, 5, ROWS).round(2)
        batch = pack(to_micros(start) + seconds * 1_000_000, values, np.arange(ROWS) % TAGS + 1, 2)
        begun = clock.monotonic()
        with connection.transaction(), connection.cursor() as cursor:
            copy_readings(cursor, batch)
        found.append(ROWS / (clock.monotonic() - begun))
    return found


def main() -> None:
    """Print the median and the best rate."""
    with connect(load_settings(), autocommit=True) as connection:
        noon = WallClock().now().replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(days=3)
        if "--without-trigger" in sys.argv[1:]:
            connection.execute("ALTER TABLE readings DISABLE TRIGGER USER")
        if "--late" in sys.argv[1:]:
            connection.execute("INSERT INTO readings VALUES (%s, 1, 1, 2, 0)", (noon + timedelta(days=2),))
            connection.execute("CALL refresh_aggregates()")
        found = rates(connection, noon)
        print(f"{median(found):,.0f} rows/s, at best {max(found):,.0f}")


if __name__ == "__main__":
    main()
