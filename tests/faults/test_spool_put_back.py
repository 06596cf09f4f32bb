"""A spool folder that was put back to an older copy: its new frames are never taken for stored, and can be stored."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from streaming.sinks.warm import WarmSink
from streaming.spool import Entry, Journal
from tests import feeder
from tests.seed import add_tags
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.errors import FatalError
from wellos.quarantine_retry import retry
from wellos.spool_format import read_spool_id

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault
ONCE, MORE, LATER = range(5), range(5, 15), range(15, 25)


def feed(settings: Settings, numbers: range, term: int = 0) -> None:
    """Open the folder, take these batches in, and store all that is pending."""
    clock = WallClock()
    journal = Journal(
        settings.data_dir / "spool",
        quota_bytes=1 << 24,
        segment_bytes=1 << 14,
        now_us=clock.micros,
        keep_bytes=1 << 24,
        keep_s=3600,
    )
    sink = WarmSink(settings, journal.spool_id, clock)
    try:
        for number in numbers:
            journal.append(Entry(1, clock.micros(), feeder.readings_of(number), term=term))
            journal.sync()
        if journal.stored_seq:  # as `streaming.drain` does when it connects
            journal.rewind(sink.committed_up_to(journal.kept_seq, journal.stored_seq))
        while items := journal.read(200):
            sink.commit(items)
            journal.advance(items)
    finally:
        sink.close()
        journal.close()


def stored(db: PgConnection) -> int:
    found = db.execute("SELECT count(*) FROM readings").fetchone()
    assert found is not None
    return int(found[0])


def put_back(settings: Settings, term: int = 0) -> Path:
    """Return the folder as it was after the first batches, when more are stored."""
    folder = settings.data_dir / "spool"
    feed(settings, ONCE, term)
    shutil.copytree(folder, folder.with_name("older"))
    feed(settings, MORE, term)
    shutil.rmtree(folder)
    folder.with_name("older").rename(folder)
    return folder


def test_other_frames_of_the_same_sequences_stop_the_process(database_settings: Settings, db: PgConnection) -> None:
    folder = put_back(database_settings)
    with pytest.raises(FatalError, match=r"another frame 6 of spool .*Move .*/id aside") as told:
        feed(database_settings, LATER)
    assert str(folder) in str(told.value)
    assert stored(db) == MORE.stop * feeder.ROWS
    # It stays so, and what is pending stays where it is.
    with pytest.raises(FatalError):
        feed(database_settings, range(0))
    (folder / "id").rename(folder / "id.old")
    feed(database_settings, range(25, 27))
    assert stored(db) == 27 * feeder.ROWS
    books = audit(db, folder)
    assert (books.problems, books.pending_frames) == ([], 0)
    assert sum(row.corrupt for row in books.rows) == 0


def test_what_was_read_under_the_old_ids_lease_is_stored_from_quarantine(
    database_settings: Settings, db: PgConnection
) -> None:
    add_tags(db, feeder.TAGS)
    folder = put_back(database_settings, term=1)
    db.execute("INSERT INTO ingest_leases VALUES (1, %s, 1, now(), now())", (read_spool_id(folder),))
    with pytest.raises(FatalError):
        feed(database_settings, LATER, term=1)
    (folder / "id").rename(folder / "id.old")
    feed(database_settings, range(0))
    assert stored(db) == MORE.stop * feeder.ROWS
    kept = db.execute("SELECT quarantine_id FROM quarantine WHERE reason = 'fenced'").fetchall()
    assert len(kept) == (len(ONCE) + len(LATER)) * feeder.ROWS
    assert audit(db, folder).problems == []
    retry(db, [number for (number,) in kept], "a person", WallClock().micros())
    assert stored(db) == LATER.stop * feeder.ROWS
    assert audit(db, folder).problems == []


def test_the_same_frames_are_skipped(database_settings: Settings, db: PgConnection) -> None:
    folder = database_settings.data_dir / "spool"
    feed(database_settings, ONCE)
    shutil.copy(folder / "cursor", folder.with_name("cursor"))
    feed(database_settings, MORE)
    shutil.copy(folder.with_name("cursor"), folder / "cursor")
    feed(database_settings, LATER)
    assert stored(db) == LATER.stop * feeder.ROWS
    assert audit(db, folder).problems == []
