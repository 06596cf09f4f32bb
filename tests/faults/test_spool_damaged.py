"""A spool damaged on disk: one batch is lost at most, counted in the ledger, and everything else is stored."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING
from zlib import crc32

import pytest

from streaming.sinks.warm import WarmSink
from streaming.spool import Entry, Journal
from tests import feeder
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.settings import Settings, load_settings
from wellos.spool_format import FRAME, SEGMENT, list_segments

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
FRAMES = 60
FRAME_BYTES = FRAME.size + feeder.ROWS * 26


def opened(folder: Path) -> Journal:
    return Journal(folder, quota_bytes=1 << 24, segment_bytes=1 << 14, now_us=WallClock().micros)


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    journal = opened(tmp_path / "spool")
    for number in range(FRAMES):
        journal.append(Entry(1, feeder.BASE_US, feeder.readings_of(number)))
        journal.sync()
    journal.close()
    return tmp_path / "spool"


def drain(folder: Path, settings: Settings) -> int:
    """Store what is there and return how many frames were lost."""
    journal = opened(folder)
    sink = WarmSink(load_settings(database_url=settings.database_url), journal.spool_id, WallClock())
    lost = 0
    while items := journal.read(500):
        lost += sink.commit(items).lost
        journal.advance(items)
    sink.close()
    journal.close()
    return lost


@pytest.mark.parametrize("seed", range(4))
def test_a_flipped_bit(spool: Path, database_settings: Settings, db: PgConnection, seed: int) -> None:
    choose = random.Random(seed)
    segment = choose.choice([item.path for item in list_segments(spool) if item.path.stat().st_size > SEGMENT.size])
    raw = bytearray(segment.read_bytes())
    raw[choose.randrange(SEGMENT.size, len(raw))] ^= 1 << choose.randrange(8)
    segment.write_bytes(raw)
    assert drain(spool, database_settings) == 1
    assert db.execute("SELECT count(*), count(*) FILTER (WHERE value <> 0.25 * ordinal) FROM "
                      "(SELECT value, (extract(epoch FROM time) * 1000000)::bigint - %s AS ordinal FROM readings) r",
                      (feeder.BASE_US,)).fetchone() == ((FRAMES - 1) * feeder.ROWS, 0)  # fmt: skip
    assert db.execute("SELECT count(*), max(seq) FROM ingest_ledger").fetchone() == (FRAMES, FRAMES)
    assert db.execute("SELECT reason, ordinal FROM quarantine").fetchall() == [("corrupt_frame", -1)]
    assert (spool / "aside" / segment.name).read_bytes() == raw
    assert audit(db, spool).problems == []


def test_a_torn_tail(spool: Path, database_settings: Settings, db: PgConnection) -> None:
    last = max(item for item in list_segments(spool) if item.path.stat().st_size > SEGMENT.size).path
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - FRAME_BYTES // 2)
    assert drain(spool, database_settings) == 0
    assert db.execute("SELECT count(*) FROM readings").fetchone() == ((FRAMES - 1) * feeder.ROWS,)
    assert db.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
    assert audit(db, spool).problems == []


def test_a_frame_of_another_schema_does_not_stop_the_drain(
    spool: Path, database_settings: Settings, db: PgConnection
) -> None:
    segment = list_segments(spool)[0].path
    raw = bytearray(segment.read_bytes())
    raw[SEGMENT.size + 4] = 9
    raw[SEGMENT.size + FRAME.size - 4 : SEGMENT.size + FRAME.size] = crc32(
        raw[SEGMENT.size : SEGMENT.size + FRAME.size - 4]
    ).to_bytes(4, "little")
    segment.write_bytes(raw)
    assert drain(spool, database_settings) == 1
    assert db.execute("SELECT count(*) FROM readings").fetchone() == ((FRAMES - 1) * feeder.ROWS,)
    (detail, original) = db.execute("SELECT detail, original FROM quarantine").fetchall()[0]
    assert "payload schema 9 is not known" in detail
    assert bytes(original) == raw[SEGMENT.size : SEGMENT.size + FRAME_BYTES]
    assert (spool / "aside" / segment.name).exists()
    assert audit(db, spool).problems == []


def test_the_audit_sees_what_is_missing(spool: Path, database_settings: Settings, db: PgConnection) -> None:
    books = audit(db, spool)
    assert (books.problems, books.pending_frames, sum(row.pending for row in books.rows)) == ([], 60, 2400)
    drain(spool, database_settings)
    assert audit(db, spool).problems == []
    for damage, mend, found in (
        ("DELETE FROM readings WHERE time = (SELECT min(time) FROM readings)", "", "stored according to the ledger"),
        (
            "UPDATE ingest_ledger SET seq = 999 WHERE seq = 7",
            "UPDATE ingest_ledger SET seq = 7 WHERE seq = 999",
            "missing",
        ),
        ("DELETE FROM ingest_ledger WHERE seq = 60", "", "the cursor says 60"),
    ):
        db.execute(damage)
        assert any(found in problem for problem in audit(db, spool).problems), found
        if mend:
            db.execute(mend)


def test_the_audit_sees_what_is_lost_before_it_is_drained(
    spool: Path, database_settings: Settings, db: PgConnection
) -> None:
    segments = list_segments(spool)
    raw = bytearray(segments[1].path.read_bytes())
    raw[SEGMENT.size + FRAME.size + 5] ^= 1
    segments[1].path.write_bytes(raw)
    segments[3].path.unlink()
    hit, gone, after = segments[1].first_seq, segments[3].first_seq, segments[4]
    books = audit(db, spool)
    assert (books.holds, books.damaged, books.pending_frames) == (False, 1, FRAMES - 1 - (after.first_seq - gone))
    first, second = books.problems
    assert f"pending sequence {hit} cannot be read ({segments[1].path.name}: damaged payload)" in first
    assert f"pending sequences {gone} to {after.first_seq - 1} cannot be read" in second
    assert f"missing in front of {after.path.name}" in second
    assert drain(spool, database_settings) == 1 + after.first_seq - gone
    books = audit(db, spool)
    assert (books.problems, books.damaged) == ([], 0)
