"""Archiving a day of readings, proven, beside raw COPY out of the same rows: each step alone, and the whole."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from psycopg import sql

from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.aggregates import day_window
from wellos.archive.archiving import archive_day
from wellos.archive.dropping import drop_day
from wellos.archive.export import count_readings, export_readings
from wellos.archive.restoring import refresh_day
from wellos.archive.snapshot import open_snapshot
from wellos.clock import WallClock, to_micros
from wellos.readings import pack
from wellos.settings import load_settings
from wellos.simulator.field import Field
from wellos.simulator.recordings import find_recordings, read_recording
from wellos.storage.cold.checksum import checksum, pg_checksum
from wellos.storage.cold.opening import open_cold
from wellos.storage.copy import COLUMNS, copy_readings
from wellos.storage.warm import connect, engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date
    from uuid import UUID

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

_DAY_S = 86_400
_BATCH = 200_000
_REGISTER = """
WITH tenant AS (INSERT INTO tenants (slug, name) VALUES (%(slug)s, %(slug)s) RETURNING tenant_id),
well AS (INSERT INTO wells (tenant_id, name, lift_type) SELECT tenant_id, 'W', 'esp' FROM tenant RETURNING *),
connection AS (
    INSERT INTO scada_connections (tenant_id, name, protocol, config)
    SELECT tenant_id, 'plc', 'modbus', '{}' FROM tenant RETURNING connection_id
)
INSERT INTO tags (tenant_id, well_id, connection_id, name, address)
SELECT tenant_id, well_id, connection_id, 't' || i, i::text FROM well, connection, generate_series(1, %(tags)s) AS i
RETURNING tag_id
"""


def main(argv: list[str]) -> int:
    """Report the rates, and the whole archive as a share of raw COPY out."""
    options = parser("archive", __doc__)
    add_database_option(options)
    options.add_argument("--wells", type=int, default=12, help="simulated wells, some twenty tags each")
    options.add_argument(
        "--every-s", type=int, default=5, help="seconds between two readings of a simulated tag, a divisor of 300"
    )
    options.add_argument("--repeat", type=int, default=3, help="times that each step is measured; the median counts")
    options.add_argument(
        "--recordings", type=Path, metavar="DIR", help="recordings of real wells (Petrobras 3W) to archive as well"
    )
    options.add_argument("--most-rows", type=int, default=5_000_000, help="most readings taken of the recordings")
    chosen, machine = options.parse_args(argv), Machine.read()
    day = WallClock().now().date() - timedelta(days=400)
    sets = {"simulated": simulated(day, chosen.wells, chosen.every_s)}
    if chosen.recordings is not None:
        sets["recorded"] = recorded(day, chosen.recordings, chosen.most_rows)
    figures: dict[str, float] = {}
    limit: dict[str, float] = {}
    server = ""
    for name, readings in sets.items():
        with database(chosen.database_url) as url, tempfile.TemporaryDirectory() as folder:
            done, raw = measure(url, Path(folder), name, day, readings, chosen.repeat)
            server = versions(url)
        figures |= {f"{name}: {what}": figure for what, figure in done.items()}
        limit[f"{name}: rows/s, raw COPY out"] = raw
    ratio = figures["simulated: rows/s, whole"] / limit["simulated: rows/s, raw COPY out"]
    told = server if chosen.recordings else f"{server}; simulated data only, as --recordings names none"
    Report("archive", figures, limit, ratio, (told,)).show(machine, as_json=chosen.json)
    return 0


def simulated(day: date, wells: int, every_s: int) -> Readings:
    """Return what a simulated field sends in a day: quantised as real instruments are. Tags count from 0."""
    since, until = map(to_micros, day_window(day))
    field = Field(seed=1, wells=wells)
    parts, tags = [], 0
    for well, described in enumerate(field.wells):
        part = field.samples(well, since - 1, until - 1, every_s=every_s).copy()
        part["tag_id"] += tags
        tags += len(described.tags)
        parts.append(part[(part["time"] >= since) & (part["time"] < until)])
    return _unique(np.concatenate(parts))


def recorded(day: date, folder: Path, most: int) -> Readings:
    """Return recordings as if they had all been made on one day, a tag for each column of each recording."""
    since = to_micros(day_window(day)[0])
    parts, tags, rows = [], 0, 0
    for recording in find_recordings(folder):
        block = read_recording(recording, "America/Sao_Paulo")
        times = block.times - block.times[:1] + since
        inside = (times >= since) & (times < since + _DAY_S * 1_000_000)
        for column in block.values[inside].T:
            told = np.abs(column) <= 1e100
            parts.append(pack(times[inside], column, tags, np.where(told, 2, 0)))
            tags += 1
            rows += len(column)
        if rows >= most:
            break
    return _unique(np.concatenate(parts))


def _unique(readings: Readings) -> Readings:
    """Return them in the order in which they arrive, once for a tag and time."""
    _, first = np.unique(readings[["tag_id", "time"]], return_index=True)
    kept = readings[first]
    return kept[np.argsort(kept["time"], kind="stable")]


def measure(
    url: str, folder: Path, tenant: str, day: date, readings: Readings, repeat: int
) -> tuple[dict[str, float], float]:
    """Store the readings as a tenant's day, compressed where the engine can, and measure each step."""
    settings = load_settings(database_url=url, data_dir=folder, bigquery_project=None)
    store = open_cold(settings)
    with connect(settings, autocommit=True) as conn:
        tenant_id = _load(conn, tenant, day, readings)
        rows = len(readings)

        def rate(work: Callable[[], object]) -> float:
            return rows / median(_seconds(work) for _ in range(repeat))

        pieces = _export(settings, tenant_id, day)
        figures = {
            "rows": float(rows),
            "rows/s, export alone": rate(lambda: _export(settings, tenant_id, day)),
            "rows/s, write alone": rate(lambda: store.write(tenant, day, pieces, "benchmark")),
            "rows/s, sum by NumPy alone": rate(lambda: [checksum(piece) for piece in pieces]),
            "rows/s, sum by the store alone": rate(lambda: store.checksum(tenant, day)),
            "rows/s, sum by PostgreSQL alone": rate(lambda: pg_checksum(conn, tenant_id, *day_window(day))),
        }
        pieces = []
        figures["rows/s, whole"] = rate(lambda: archive_day(settings, store, tenant, day, force=True))
        raw = rate(lambda: _copy_out(conn, day))
        receipt = archive_day(settings, store, tenant, day).receipt
        figures["bytes/row in the archive"] = receipt.bytes / max(rows, 1)
        _complete(conn, day)
        figures["s, drop"] = _seconds(lambda: _drop(settings, conn, store, day))
    return figures, raw


def _load(conn: PgConnection, tenant: str, day: date, readings: Readings) -> UUID:
    tags = int(readings["tag_id"].max()) + 1
    ids = sorted(row[0] for row in conn.execute(_REGISTER, {"slug": tenant, "tags": tags}))
    conn.execute("SELECT ensure_readings_partitions(%s::date[])", ([day],))
    known = readings.copy()
    known["tag_id"] = np.asarray(ids)[readings["tag_id"]]
    for start in range(0, len(known), _BATCH):
        with conn.transaction(), conn.cursor() as cursor:
            copy_readings(cursor, known[start : start + _BATCH])
    if engine(conn) == "timescale":
        conn.execute("SELECT compress_chunk(c) FROM relations_of_day(%s) AS c", (day,))
    conn.execute("ANALYZE readings")
    row = conn.execute("SELECT tenant_id FROM tenants WHERE slug = %s", (tenant,)).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


def _export(settings: Settings, tenant_id: UUID, day: date) -> list[Readings]:
    with open_snapshot(settings, day, WallClock()) as snapshot:
        return list(export_readings(snapshot.conn, count_readings(snapshot.conn, tenant_id, day)))


def _copy_out(conn: PgConnection, day: date) -> None:
    """Receive the day by binary COPY and throw it away: message by message from libpq, without a loop of psycopg's."""
    statement = sql.SQL(
        "COPY (SELECT {} FROM readings WHERE time >= {} AND time < {}) TO STDOUT (FORMAT binary)"
    ).format(sql.SQL(", ").join(map(sql.Identifier, COLUMNS)), *day_window(day))
    link = conn.pgconn
    link.exec_(statement.as_bytes(conn))
    while link.get_copy_data(0)[0] > 0:
        pass
    while link.get_result() is not None:
        pass


def _complete(conn: PgConnection, day: date) -> None:
    """Have a reading of a later day, so that the day's aggregates can be complete, and refresh them."""
    later = day + timedelta(days=40)
    conn.execute("SELECT ensure_readings_partitions(%s::date[])", ([later],))
    conn.execute("INSERT INTO readings SELECT %s, min(tag_id), 1, 2, 0 FROM tags", (day_window(later)[0],))
    conn.execute("CALL refresh_aggregates()")
    refresh_day(conn, day)


def _drop(settings: Settings, conn: PgConnection, store: ColdStore, day: date) -> None:
    drop_day(conn, store, day, datetime.combine(WallClock().now().date(), time(), UTC), settings)


def _seconds(work: Callable[[], object]) -> float:
    clock = WallClock()
    begun = clock.monotonic()
    work()
    return clock.monotonic() - begun
