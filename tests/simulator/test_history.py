"""Backfill into a real database: all of it, once, accounted for, and mended where it was cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from wellos.errors import ConfigurationError
from wellos.fleet.apply import apply
from wellos.fleet.check import check
from wellos.readings import empty
from wellos.registry import load_connections
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.entries import FieldEntries
from wellos.simulator.entry_table import write_entries
from wellos.simulator.field import Field
from wellos.simulator.fleet_document import Addresses, fleet_document
from wellos.simulator.history import EVERY_S, backfill
from wellos.storage.copy import copy_readings

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection

START = 1_782_990_000_000_000 // DAY_US * DAY_US  # in the past
END = START + 2 * DAY_US + 12_345
ADDRESSES = Addresses("opc.tcp://127.0.0.1:4840", "127.0.0.1", 5020, "mqtt://127.0.0.1:1883")


@pytest.fixture
def field(db: PgConnection) -> Field:
    made = Field(seed=7, tags=4)
    apply(db, check(yaml.safe_dump(fleet_document(made, ADDRESSES)).encode(), "fleet.yaml").fleet)
    return made


def one(db: PgConnection, text: str) -> Any:  # noqa: ANN401 - one column of any type
    row = db.execute(text).fetchone()
    assert row is not None
    return row[0]


def expected_rows(field: Field, start: int, end: int) -> int:
    return sum(field.samples(well, start, end, every_s=EVERY_S).size for well in range(len(field.wells)))


def test_every_reading_and_entry_is_stored_once_and_accounted_for(db: PgConnection, field: Field) -> None:
    shares: list[tuple[str, float]] = []
    first = backfill(db, field, START, END, lambda what, share: shares.append((what, share)))
    wanted = expected_rows(field, START, END)
    assert first.readings == wanted == one(db, "SELECT count(*) FROM readings")
    assert one(db, "SELECT sum(stored) FROM ingest_ledger") == wanted
    if one(db, "SELECT to_regclass('readings_default') IS NOT NULL"):
        assert one(db, "SELECT count(*) FROM readings_default") == 0
    entries = FieldEntries(field).entries(START + 1, END + 1)
    assert first.entries == len(entries) == one(db, "SELECT count(*) FROM field_entries")
    assert list(dict.fromkeys(what for what, _ in shares)) == ["readings", "aggregates"]
    second = backfill(db, field, START, END)
    assert (second.readings, second.entries, second.pieces) == (0, 0, 0)
    assert one(db, "SELECT count(*) FROM readings") == wanted


def test_values_and_status_are_those_that_ingest_would_store(db: PgConnection, field: Field) -> None:
    backfill(db, field, START, END)
    tags = {(tag.well, tag.name): tag.tag_id for item in load_connections(db) for tag in item.tags}
    statuses = {"opcua": 0, "modbus": 0, "mqtt": 192, "sparkplug": 192}
    for number in (0, 4, 8, 10):
        well = field.wells[number]
        sent = field.samples(number, START, END, every_s=EVERY_S)
        mine = sent[sent["tag_id"] == 1]
        rows = db.execute(
            "SELECT (extract(epoch FROM time) * 1000000)::bigint, value, quality, status FROM readings"
            " WHERE tag_id = %s ORDER BY time",
            (tags[well.name, well.tags[1].name],),
        ).fetchall()
        stored = np.array([row[:3] for row in rows], dtype=np.float64)
        order = np.argsort(mine["time"], kind="stable")
        for at, column in enumerate(("time", "value", "quality")):
            np.testing.assert_array_equal(stored[:, at], mine[column][order].astype(np.float64))
        good = {row[3] for row in rows if row[2] == 2}
        assert good == {statuses[well.protocol]}


def test_aggregates_cover_history(db: PgConnection, field: Field) -> None:
    backfill(db, field, START, END)
    wanted = one(db, "SELECT count(*) FROM readings")
    for relation in ("readings_1min", "readings_5min", "readings_1hour", "readings_1day"):
        assert one(db, f"SELECT sum(n) FROM {relation}") == wanted
    stale = "SELECT count(*) FROM aggregate_status WHERE pending_invalidations > 0"
    assert one(db, stale) == 0
    newest = "SELECT watermark >= to_timestamp(%s) FROM aggregate_status WHERE relation = 'readings_1min'"
    assert db.execute(newest, ((END - 600_000_000) / 1e6,)).fetchone() == (True,)


def test_later_runs_add_what_is_missing_before_and_after(db: PgConnection, field: Field) -> None:
    middle = START + DAY_US
    backfill(db, field, middle + 3_600_000_000, middle + DAY_US // 2)
    backfill(db, field, START, END)
    backfill(db, field, START, END + 3_600_000_000)
    assert one(db, "SELECT count(*) FROM readings") == expected_rows(field, START, END + 3_600_000_000)
    assert one(db, "SELECT sum(stored) FROM ingest_ledger") == one(db, "SELECT count(*) FROM readings")
    holes = "SELECT spool_id FROM ingest_ledger GROUP BY spool_id HAVING max(seq) <> count(*)"
    assert db.execute(holes).fetchall() == []


def test_moments_that_have_a_reading_keep_it(db: PgConnection, field: Field) -> None:
    tag = load_connections(db)[0].tags[0].tag_id
    live = empty(1)
    live["time"], live["tag_id"], live["value"], live["quality"] = (
        START // 60_000_000 * 60_000_000 + 300_000_000,
        tag,
        7.5,
        2,
    )
    with db.transaction(), db.cursor() as cursor:
        copy_readings(cursor, live)
    done = backfill(db, field, START, END)
    assert one(db, "SELECT count(*) FROM readings") == done.readings + 1
    assert one(db, "SELECT sum(stored) FROM ingest_ledger") == done.readings
    assert one(db, "SELECT count(*) FROM readings WHERE value = 7.5") == 1


def test_a_field_that_is_not_in_the_registry_is_refused(db: PgConnection) -> None:
    with pytest.raises(ConfigurationError, match="fleet apply"):
        backfill(db, Field(seed=7), START, END)
    entries = FieldEntries(Field(seed=7)).entries(START, END)
    with pytest.raises(ConfigurationError, match="fleet apply"):
        write_entries(db, Field(seed=7), entries)


def test_a_tag_that_is_not_in_the_registry_is_named(db: PgConnection, field: Field) -> None:
    assert len(field.wells[0].tags) == 4
    with pytest.raises(ConfigurationError, match=r"PB-005\.casing_pressure: is not in the registry, and 11 more"):
        backfill(db, Field(seed=7, tags=5), START, END)


def test_a_run_cut_short_is_gone_on_with(db: PgConnection, field: Field) -> None:
    def stop(_what: str, share: float) -> None:
        if share > 0.4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(db, field, START, END, stop)
    before = one(db, "SELECT count(*) FROM readings")
    assert 0 < before < expected_rows(field, START, END)
    assert one(db, "SELECT sum(stored) FROM ingest_ledger") == before
    done = backfill(db, field, START, END)
    assert done.pieces_skipped > 0
    assert before + done.readings == expected_rows(field, START, END) == one(db, "SELECT count(*) FROM readings")
    assert one(db, "SELECT sum(n) FROM readings_1hour") == before + done.readings
