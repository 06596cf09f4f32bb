"""The export: every reading once, in order, whatever the day holds, by the index, and of one state of the database."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest

from tests.archiving import DAY, add_day, equal, make_day
from tests.seed import add_tags
from wellos.aggregates import day_window
from wellos.archive.export import count_readings, export_readings
from wellos.archive.snapshot import open_snapshot
from wellos.clock import WallClock, to_micros
from wellos.readings import empty, pack
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from uuid import UUID

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.warm import Engine, PgConnection


def _tenant(db: PgConnection, slug: str = "acme") -> UUID:
    row = db.execute("SELECT tenant_id FROM tenants WHERE slug = %s", (slug,)).fetchone()
    assert row is not None
    found: UUID = row[0]
    return found


def _export(settings: Settings, tenant_id: UUID, message_rows: int = 1 << 20) -> list[Readings]:
    with open_snapshot(settings, DAY, WallClock()) as snapshot:
        contents = count_readings(snapshot.conn, tenant_id, DAY)
        return list(export_readings(snapshot.conn, contents, message_rows=message_rows))


def _compress(db: PgConnection, what: str = "compress_chunk") -> None:
    db.execute(f"SELECT {what}(c) FROM show_chunks('readings') AS c")


@pytest.mark.parametrize("message_rows", [1 << 20, 100, 3, 1])
def test_every_reading_once_by_tag_and_time(db: PgConnection, database_settings: Settings, message_rows: int) -> None:
    tags = add_tags(db, 4)
    given = add_day(db, np.concatenate([make_day(tags[:1], 150), make_day(tags[2:], 60, 2)]))
    whole = np.concatenate(_export(database_settings, _tenant(db), message_rows))
    assert equal(whole, given)


def test_only_the_tenant_and_the_day(db: PgConnection, database_settings: Settings) -> None:
    mine, others = add_tags(db, 2), add_tags(db, 2, "other")
    given = add_day(db, make_day(mine, 50))
    add_day(db, make_day(others, 50))
    since, until = map(to_micros, day_window(DAY))
    for day, moment in ((DAY - timedelta(1), since - 1), (DAY + timedelta(1), until)):
        add_day(db, pack([moment], [1.0], [mine[0]], [2]), day)
    edges = add_day(db, pack([since, until - 1], [1.0, 2.0], [mine[1]] * 2, [2, 2]))
    whole = np.concatenate(_export(database_settings, _tenant(db)))
    assert len(whole) == len(given) + len(edges)
    assert whole["time"].min() == since
    assert whole["time"].max() == until - 1
    assert set(whole["tag_id"]) == set(mine)


def test_a_tag_crowded_into_a_moment_is_cut_by_time(db: PgConnection, database_settings: Settings) -> None:
    tags = add_tags(db, 3)
    since = to_micros(day_window(DAY)[0])
    crowded = pack(since + 3_600_000_000 + np.arange(500), np.arange(500.0), tags[1], 2)
    given = add_day(db, np.concatenate([make_day([tags[0], tags[2]], 20), crowded, make_day([tags[1]], 30)]))
    pieces = _export(database_settings, _tenant(db), 64)
    assert equal(np.concatenate(pieces), given)


def test_an_empty_day_has_no_pieces(db: PgConnection, database_settings: Settings) -> None:
    add_tags(db, 2)
    assert _export(database_settings, _tenant(db)) == []


def test_counts_by_connection(db: PgConnection, database_settings: Settings) -> None:
    tags = add_tags(db, 3)
    add_day(db, make_day(tags[:2], 7))
    (connection_id,) = db.execute("SELECT connection_id FROM scada_connections").fetchone() or (None,)
    with open_snapshot(database_settings, DAY, WallClock()) as snapshot:
        contents = count_readings(snapshot.conn, _tenant(db), DAY)
    assert contents.connections == {connection_id: 14}
    assert contents.rows == 14


@pytest.mark.parametrize("compressed", [False, True])
def test_the_plan_follows_the_index_and_sorts_no_readings(
    db: PgConnection, database_settings: Settings, database_engine: Engine, *, compressed: bool
) -> None:
    if compressed and database_engine == "plain":
        pytest.skip("plain PostgreSQL has no columnstore")
    tags = add_tags(db, 20)
    for day in (DAY - timedelta(1), DAY, DAY + timedelta(1)):
        add_day(db, make_day(tags, 300, day=day), day)
    if compressed:
        _compress(db)
    db.execute("ANALYZE readings")
    since, until = day_window(DAY)
    with connect(database_settings) as conn:
        conn.execute(query("export_plan"))
        window = {"tags": tags, "since": since, "until": until}
        row = conn.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query("export_packed"), window).fetchone()
        places = {str(one[0]) for one in conn.execute("SELECT relations_of_day(%s)::text", (DAY,))}
    assert row is not None
    nodes = list(_nodes(row[0][0]["Plan"]))
    text = json.dumps(row[0])
    # what is sorted of a compressed chunk are its segments: a thousand readings are one row there
    assert all(node["Actual Rows"] < len(tags) * 300 for node in nodes if "Sort" in node["Node Type"]), text
    scanned = {f"{node.get('Schema', 'public')}.{node['Relation Name']}" for node in nodes if "Relation Name" in node}
    readings = {name for name in scanned if "compress" not in name}
    assert len(places) == 1
    assert {name.rpartition(".")[2] for name in readings} <= {name.rpartition(".")[2] for name in places}, text
    assert not any(node["Node Type"] == "Seq Scan" for node in nodes), text


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", []) for node in _nodes(child))]


def test_other_connections_see_the_same(db: PgConnection, database_settings: Settings) -> None:
    tags = add_tags(db, 1)
    add_day(db, make_day(tags, 10))
    with open_snapshot(database_settings, DAY, WallClock()) as snapshot:
        add_day(db, make_day(tags, 5, 2))
        with snapshot.another() as conn:
            assert conn.execute("SELECT count(*) FROM readings").fetchone() == (10,)
        assert snapshot.conn.execute("SELECT count(*) FROM readings").fetchone() == (10,)
        changes = "SELECT pg_visible_in_snapshot(xid, %s::pg_snapshot) FROM reading_changes"
        db.execute("CALL watch_days(%s)", ([DAY],))
        add_day(db, make_day(tags, 5, 3))
        assert db.execute(changes, (snapshot.snapshot,)).fetchall() == [(False,)]


def test_a_snapshot_keeps_its_rows_when_the_day_would_be_rewritten(
    db: PgConnection, database_settings: Settings, database_engine: Engine
) -> None:
    """A partition made, or a chunk decompressed, behind a snapshot's back would show it an empty day."""
    tags = add_tags(db, 1)
    since = to_micros(day_window(DAY)[0])
    readings = pack(since + np.arange(100), 1.0, tags[0], 2)
    with db.transaction(), db.cursor().copy("COPY readings (time, tag_id, value, quality) FROM STDIN") as copy:
        for moment in range(100):
            copy.write_row((day_window(DAY)[0] + timedelta(microseconds=moment), tags[0], 1.0, 2))
    if database_engine == "timescale":
        _compress(db)

    def rewrite() -> object:
        with connect(database_settings, autocommit=True) as other:
            other.execute("SET lock_timeout = '1s'")
            if database_engine == "timescale":
                try:
                    _compress(other, "decompress_chunk")
                except psycopg.errors.LockNotAvailable:
                    return 0
                return 1
            row = other.execute("SELECT ensure_readings_partitions(%s::date[])", ([DAY],)).fetchone()
            return row and row[0]

    with ThreadPoolExecutor(1) as pool, open_snapshot(database_settings, DAY, WallClock()) as snapshot:
        assert pool.submit(rewrite).result() == 0
        contents = count_readings(snapshot.conn, _tenant(db), DAY)
        whole = np.concatenate([empty(), *export_readings(snapshot.conn, contents)])
    assert equal(whole, readings)
    assert rewrite() == 1


def test_days_and_their_relations(db: PgConnection, database_engine: Engine) -> None:
    tags = add_tags(db, 1)
    assert db.execute("SELECT days_of_readings()").fetchall() == []
    add_day(db, make_day(tags, 1))
    other = date(2026, 11, 5)
    moment = day_window(other)[0]
    db.execute("INSERT INTO readings VALUES (%s, %s, 1, 2, 0)", (moment, tags[0]))  # plain: the default partition
    assert sorted(row[0] for row in db.execute("SELECT days_of_readings()")) == [DAY, other]
    places = [str(row[0]) for row in db.execute("SELECT relations_of_day(%s)::text", (other,))]
    assert places == [
        str(row[0]) for row in db.execute("SELECT tableoid::regclass::text FROM readings WHERE time = %s", (moment,))
    ]
    empty_day = db.execute("SELECT count(*) FROM relations_of_day('2001-01-01')").fetchone()
    assert empty_day == ((0,) if database_engine == "timescale" else (1,))


def test_a_piece_is_bounded_whatever_a_tag_holds(
    db: PgConnection, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wellos.archive.export.PIECE_ROWS", 100)
    tags = add_tags(db, 3)
    since = to_micros(day_window(DAY)[0])
    given = add_day(db, np.concatenate([make_day(tags[1:], 90), pack(since + np.arange(1000), 1.0, tags[0], 2)]))
    pieces = _export(database_settings, _tenant(db), 64)
    assert max(map(len, pieces)) < 100 + 90
    assert equal(np.concatenate(pieces), given)
