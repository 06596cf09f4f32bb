"""Readings and findings that a database refuses, that come twice or out of order: the rest is stored, once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql

from streaming.delivery import Delivery, Episode, Gap, Rejected
from streaming.extras import Extras, encode_extras
from streaming.sinks.warm import WarmSink
from tests import feeder
from tests.seed import add_tags
from wellos.audit import audit
from wellos.clock import WallClock, from_micros
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.settings import Settings, load_settings
from wellos.spool_format import Frame, Header
from wellos.storage.migrations import migrate
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
HOUR_US, MINUTE_US = 3_600_000_000, 60_000_000


def frame(seq: int, readings: Readings, extras: Extras | None = None) -> Frame:
    rejected = len(extras.rejected) if extras else 0
    rows, at = len(readings), feeder.BASE_US
    header = Header(1, 0, 0, seq, 1, at, at, rows + rejected, rejected, 0, 0, rows, 0)
    return Frame(header, readings, encode_extras(extras) if extras else b"")


@pytest.fixture
def latin1_url(database_server: str) -> Iterator[str]:
    """A database that can hold the letters of western Europe and no others."""
    name = f"wellos_test_{uuid4().hex[:12]}"
    made = "CREATE DATABASE {} ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    with psycopg.connect(database_server, autocommit=True) as admin:
        admin.execute(sql.SQL(made).format(sql.Identifier(name)))
        try:
            yield f"{database_server.rsplit('/', 1)[0]}/{name}"
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_texts_that_the_database_cannot_hold(latin1_url: str, tmp_path: Path) -> None:
    settings = load_settings(database_url=latin1_url, data_dir=tmp_path)
    migrate(settings)
    sink = WarmSink(settings, uuid4(), WallClock())
    strange = Extras(
        (Rejected("malformed", "значение", "скважина/1", b"\x00\xd1"), Rejected("malformed", "débit", "puits/1", b"x")),
        (Gap(feeder.BASE_US, feeder.BASE_US + 1, "泵"),),
    )
    plain = Extras((Rejected("malformed", "débit", "puits/1", b"x"),))
    frames = [frame(n, feeder.readings_of(n)) for n in range(1, 6)]
    frames[1], frames[3] = frame(2, feeder.readings_of(2), strange), frame(4, feeder.readings_of(4), plain)
    done = sink.commit(frames)
    assert (done.stored, done.poisoned) == (5 * feeder.ROWS, 0)
    assert sink.commit([frame(6, feeder.readings_of(6))]).stored == feeder.ROWS, "the probe"
    sink.close()
    with connect(settings, autocommit=True) as db:
        kept = db.execute("SELECT seq, detail, source, original FROM quarantine ORDER BY seq, ordinal").fetchall()
        assert [row[0] for row in kept] == [2, 2, 4]
        assert kept[0][1:] == (
            "значение".encode("ascii", "backslashreplace").decode(),
            "скважина/1".encode("ascii", "backslashreplace").decode(),
            b"\x00\xd1",
        )
        assert kept[2][1:] == ("débit", "puits/1", b"x"), "a neighbour keeps its text"
        assert db.execute("SELECT reason FROM ingest_gaps").fetchall() == [("\\u6cf5",)]
        assert audit(db, None).problems == []


def test_a_finding_that_the_database_refuses_stops_nothing(database_settings: Settings, db: PgConnection) -> None:
    add_tags(db, feeder.TAGS)
    sink = WarmSink(database_settings, uuid4(), WallClock())
    bad = Extras(
        gaps=(Gap(feeder.BASE_US, feeder.BASE_US + 1, "kept"),),
        episodes=(Episode("range", "PANIC", feeder.BASE_US),),  # type: ignore[arg-type]
    )
    assert sink.commit([frame(1, feeder.readings_of(1)), frame(2, feeder.readings_of(2), bad)]).stored == 80
    assert sink.commit([frame(3, feeder.readings_of(3))]).stored == 40
    sink.close()
    kept = db.execute("SELECT seq, reason, source, original FROM quarantine").fetchall()
    assert kept == [(2, "refused", "spool", encode_extras(bad))]
    assert db.execute("SELECT reason FROM ingest_gaps").fetchall() == [("kept",)]
    assert audit(db, None).problems == []


def test_many_poisonous_rows(database_settings: Settings, db: PgConnection) -> None:
    chosen = random.Random(1)
    batch = np.concatenate([feeder.readings_of(number) for number in range(100)])
    bad = np.array(sorted(chosen.sample(range(len(batch)), 20)))
    batch["quality"][bad[:10]] = 7
    batch["value"][bad[10:]] = np.inf
    sink = WarmSink(database_settings, uuid4(), WallClock())
    done = sink.commit([frame(1, feeder.readings_of(500)), frame(2, batch), frame(3, feeder.readings_of(501))])
    sink.close()
    assert (done.stored, done.poisoned) == (2 * feeder.ROWS + 3980, 20)
    kept = db.execute("SELECT original FROM quarantine WHERE reason = 'refused' ORDER BY ordinal").fetchall()
    assert [row[0] for row in kept] == [batch[place].tobytes() for place in bad]
    assert audit(db, None).problems == []


async def test_delivered_twice(database_url: str, tmp_path: Path, db: PgConnection) -> None:
    settings = load_settings(database_url=database_url, data_dir=tmp_path)
    sent = 0
    dropped = 0
    repeated = 0
    for _ in range(2):  # the second process does not remember what the first one took in
        parts = feeder.assemble(settings)
        async with parts.running():
            for number in range(100):
                twice = 1 + (number % 5 == 0)
                for _ in range(twice):
                    sent += feeder.ROWS
                    await parts.intake.emit(Delivery(1, WallClock().micros(), feeder.readings_of(number)))
            await parts.stored()
        dropped += parts.counters.terms["duplicates"]
        repeated += parts.counters.stored["repeated"]
    assert dropped == 2 * 20 * feeder.ROWS
    assert repeated == 100 * feeder.ROWS
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (100 * feeder.ROWS,)
    books = audit(db, tmp_path / "spool")
    assert books.problems == []
    assert sum(row.received for row in books.rows) == sent == 240 * feeder.ROWS


async def test_out_of_order_and_an_hour_late(database_settings: Settings, db: PgConnection) -> None:
    now = WallClock().micros() // HOUR_US * HOUR_US - HOUR_US
    ids = np.arange(2 * 240 * feeder.TAGS)  # two hours, every 15 s
    rng = np.random.default_rng(7)
    everything = pack(
        now - HOUR_US + ids // feeder.TAGS * 15_000_000,
        rng.normal(50, 1, len(ids)),
        1 + ids % feeder.TAGS,
        Quality.GOOD,
    )
    late = everything["time"] < now
    parts = feeder.assemble(database_settings)

    async def deliver(readings: Readings) -> None:
        for part in np.array_split(readings[rng.permutation(len(readings))], 20):
            await parts.intake.emit(Delivery(1, WallClock().micros(), part))
        await parts.stored()

    async with parts.running():
        await deliver(everything[~late])
        db.execute("CALL refresh_aggregates()")
        assert db.execute("SELECT sum(n) FROM readings_1hour").fetchone() == (int(np.count_nonzero(~late)),)
        await deliver(everything[late])
        db.execute("CALL refresh_aggregates()")
    assert parts.counters.stored["stored"] == len(everything)
    for relation, width in (("readings_1min", MINUTE_US), ("readings_1hour", HOUR_US)):
        expected: dict[tuple[int, object], tuple[int, float]] = {}
        for tag in range(1, feeder.TAGS + 1):
            own = everything[everything["tag_id"] == tag]
            buckets = own["time"] // width
            for bucket in np.unique(buckets).tolist():
                values = own["value"][buckets == bucket]
                expected[tag, from_micros(bucket * width)] = (len(values), float(values.sum()))
        found = db.execute(sql.SQL("SELECT tag_id, bucket, n, sum FROM {}").format(sql.Identifier(relation))).fetchall()
        assert {row[:2]: row[2] for row in found} == {key: n for key, (n, _) in expected.items()}
        assert all(abs(row[3] - expected[row[:2]][1]) < 1e-6 for row in found)
    assert audit(db, parts.journal.folder).problems == []
