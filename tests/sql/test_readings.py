"""The table of readings: what it refuses, and that no day is ever refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.seed import add_readings, add_tags, at
from wellos.clock import to_micros
from wellos.storage.copy import iter_readings, read_readings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import Engine, PgConnection

NOON = at("2026-11-01 12:00")


def _places(db: PgConnection) -> list[str]:
    return [row[0] for row in db.execute("SELECT tableoid::regclass::text FROM readings ORDER BY time")]


@pytest.mark.parametrize(
    ("value", "quality", "constraint"),
    [
        (1.0, 3, "readings_quality"),
        (1.0, -1, "readings_quality"),
        (float("nan"), 2, "readings_value"),
        (float("inf"), 1, "readings_value"),
        (1e200, 2, "readings_value"),
    ],
)
def test_what_would_spoil_an_aggregate_is_refused(
    db: PgConnection, value: float, quality: int, constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as caught:
        add_readings(db, [(NOON, 1, value, quality)])
    assert caught.value.diag.constraint_name == constraint


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e308, 5e-324])
def test_a_bad_reading_may_hold_any_value(db: PgConnection, value: float) -> None:
    add_readings(db, [(NOON, 1, value, 0)])
    assert str(db.execute("SELECT value FROM readings").fetchone()) == str((value,))


def test_one_reading_for_a_tag_and_time(db: PgConnection) -> None:
    add_readings(db, [(NOON, 1, 1.0, 2), (NOON, 2, 1.0, 2)])
    with pytest.raises(psycopg.errors.UniqueViolation):
        add_readings(db, [(NOON, 1, 2.0, 2)])


@pytest.mark.parametrize("year", [1, 1970, 1999, 2026, 2262, 9999])
def test_no_day_is_refused(db: PgConnection, year: int) -> None:
    moment = datetime(year, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    add_readings(db, [(moment, 1, 1.0, 2)])
    db.execute("SELECT ensure_readings_partitions()")
    assert db.execute("SELECT time FROM readings").fetchall() == [(moment,)]
    with pytest.raises(psycopg.errors.UniqueViolation):
        add_readings(db, [(moment, 1, 2.0, 2)])


def test_a_partition_or_chunk_is_one_utc_day(db: PgConnection) -> None:
    midnight = at("2026-11-02 00:00")
    step = timedelta(microseconds=1)
    moments = [midnight - timedelta(days=1), midnight - step, midnight, midnight + timedelta(days=1) - step]
    db.execute("SET TIME ZONE 'America/Chicago'")
    db.execute("SELECT ensure_readings_partitions(%s)", ([date(2026, 11, 1), date(2026, 11, 2)],))
    add_readings(db, [(moment, 1, 1.0, 2) for moment in moments])
    first, second, third, fourth = _places(db)
    assert first == second != third == fourth


def test_partitions_are_made_once(db: PgConnection, database_engine: Engine) -> None:
    days = [date(2026, 11, day) for day in (1, 2, 2, 1)]
    made = [db.execute("SELECT ensure_readings_partitions(%s)", (days,)).fetchone() for _ in range(2)]
    assert made == ([(2,), (0,)] if database_engine == "plain" else [(0,), (0,)])


def test_rows_of_a_day_nobody_asked_for_move_to_its_partition(db: PgConnection, database_engine: Engine) -> None:
    if database_engine != "plain":
        pytest.skip("a hypertable has no default partition")
    rows = [(NOON + timedelta(hours=hour), 1, float(hour), 2) for hour in range(48)]
    add_readings(db, rows)
    assert set(_places(db)) == {"readings_default"}
    assert db.execute("SELECT ensure_readings_partitions(%s)", ([date(2026, 11, 2)],)).fetchone() == (1,)
    assert _places(db) == ["readings_default"] * 12 + ["readings_20261102"] * 24 + ["readings_default"] * 12
    assert db.execute("SELECT ensure_readings_partitions()").fetchone() == (2,)
    assert "readings_default" not in _places(db)
    assert db.execute("SELECT count(*), sum(value) FROM readings").fetchone() == (48, sum(range(48)))


@pytest.mark.parametrize("statement", ["SELECT count(*) FROM readings", "DELETE FROM readings WHERE tag_id = 9"])
def test_a_day_that_begins_while_a_session_holds_the_table_is_not_refused(
    db: PgConnection, database_settings: Settings, statement: str
) -> None:
    days = [date(2026, 11, 2)]
    add_readings(db, [(NOON, 1, 1.0, 2)])
    with connect(database_settings) as other:
        other.execute(statement)
        assert db.execute("SELECT ensure_readings_partitions(%s)", (days,)).fetchone() == (0,)
        add_readings(db, [(NOON + timedelta(days=1), 1, 1.0, 2)])
    db.execute("SELECT ensure_readings_partitions(%s)", (days,))
    assert len(set(_places(db))) == 2


def test_writers_and_partition_makers_do_not_disturb_each_other(database_settings: Settings, db: PgConnection) -> None:
    days, rows = 12, 30

    def work(tag: int) -> None:
        with connect(database_settings, autocommit=True) as connection:
            for day in range(days):
                moment = NOON + timedelta(days=day)
                add_readings(connection, [(moment + timedelta(seconds=i), tag, 1.0, 2) for i in range(rows)])
                ask = [(moment + timedelta(days=1)).date()] if tag % 2 else None
                connection.execute("SELECT ensure_readings_partitions(%s)", (ask,))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (4 * days * rows,)


def test_the_view_gives_names_words_and_the_whole_status(db: PgConnection) -> None:
    good, bad = add_tags(db, 2)
    status = 0x80340000  # OPC UA Bad_..., stored as the signed integer of the same bits
    db.execute(
        "INSERT INTO readings VALUES (%(at)s, %(good)s, 2.5, 2, 0), (%(at)s, %(bad)s, 'NaN', 0, %(status)s)",
        {"at": NOON, "good": good, "bad": bad, "status": status - (1 << 32)},
    )
    wanted = "SELECT well_name, tag_name, unit, value, quality, status_code, source_protocol FROM scada_readings"
    assert db.execute(f"{wanted} ORDER BY tag_id").fetchall() == [
        ("PB-001", "tag_1", "psi", 2.5, "GOOD", 0, "modbus"),
        ("PB-001", "tag_2", "psi", None, "BAD", status, "modbus"),
    ]


def test_the_current_field_entry_is_its_latest_revision(db: PgConnection) -> None:
    add_tags(db)
    insert = """
    INSERT INTO field_entries
        (entry_id, revision, tenant_id, well_id, entry_type, gauged_at, entered_at, data, created_by)
    SELECT '00000000-0000-0000-0000-000000000001', revision, tenant_id, well_id, 'production', now(), now(),
           jsonb_build_object('oil_volume', revision), 'sam'
    FROM wells, generate_series(1, 3) revision
    """
    db.execute(insert)
    found = db.execute("SELECT revision, data FROM field_entries_current").fetchall()
    assert found == [(3, {"oil_volume": 3})]


@pytest.mark.parametrize("rows", [1, 7, 1000])
def test_readings_come_in_pieces_and_whole(db: PgConnection, rows: int) -> None:
    add_readings(db, [(NOON + timedelta(seconds=n), 1 + n % 3, n / 4, n % 3) for n in range(500)])
    span = (to_micros(NOON), to_micros(NOON + timedelta(seconds=400)))
    pieces = list(iter_readings(db, [1, 2], *span, rows=rows))
    whole = read_readings(db, [1, 2], *span)
    assert sum(map(len, pieces)) == len(whole) == 267
    assert sorted(reading for piece in pieces for reading in piece.tolist()) == sorted(whole.tolist())
    assert (len(pieces) == 1) == (rows == 1000)
    assert not len(read_readings(db, [], *span))
