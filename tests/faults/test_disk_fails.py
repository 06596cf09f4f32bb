"""The disk under the spool is full, fails to sync or is slow, a second process comes: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from streaming.sinks.warm import WarmSink
from streaming.spool import Entry, Journal, SpoolFullError
from tests import feeder
from tests.disks import disk, strace
from tests.feeding import feeding, verify
from tests.waiting import eventually
from wellos.audit import audit
from wellos.clock import WallClock
from wellos.settings import Settings, load_settings
from wellos.spool_format import list_segments

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

pytestmark = pytest.mark.fault


def test_a_full_disk_stops_intake_but_not_the_drain_and_opens_again(
    tmp_path: Path, database_settings: Settings, db: PgConnection
) -> None:
    with disk(tmp_path / "disk.img", tmp_path / "disk", 8) as folder:
        journal = Journal(folder / "spool", quota_bytes=1 << 30, segment_bytes=1 << 18, now_us=WallClock().micros)
        accepted = refused = 0
        while not refused:
            for number in range(accepted, accepted + 20):
                journal.append(Entry(1, feeder.BASE_US, feeder.readings_of(number)))
            try:
                accepted = journal.sync()
            except SpoolFullError:
                refused += 1
        with (folder / "ballast").open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))
        with pytest.raises(SpoolFullError):
            journal.sync()
        sink = WarmSink(load_settings(database_url=database_settings.database_url), journal.spool_id, WallClock())
        while items := journal.read(2000):
            sink.commit(items)
            journal.advance(items)
        assert journal.stored_seq == accepted > 1000
        assert journal.sync() == accepted + 20, "there is room again, and nobody had to say so"
        for number in range(accepted + 20, accepted + 500):
            journal.append(Entry(1, feeder.BASE_US, feeder.readings_of(number)))
        journal.sync()
        while items := journal.read(2000):
            sink.commit(items)
            journal.advance(items)
        sink.close()
        journal.close()
        assert refused == 1
        assert audit(db, folder / "spool").problems == []
    assert db.execute("SELECT count(*) FROM readings").fetchone() == ((accepted + 500) * feeder.ROWS,)


def test_one_failed_fsync_costs_a_segment(tmp_path: Path, database_url: str, db: PgConnection) -> None:
    trace = tmp_path / "trace"
    failing = strace("-o", str(trace), "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=25")
    with feeding(tmp_path, database_url, 0, failing) as running:
        eventually(lambda: len(running.acknowledged()) > 300)
        running.end()
        acknowledged = running.acknowledged()
    failed = [line for line in trace.read_text().splitlines() if "(INJECTED)" in line]
    assert len(failed) == 1
    assert "fdatasync(" in trace.read_text().partition(failed[0])[2]
    assert len(acknowledged) > 300
    verify(db, tmp_path, acknowledged)


def test_the_second_failed_fsync_ends_the_process_and_loses_nothing(
    tmp_path: Path, database_url: str, db: PgConnection
) -> None:
    failing = strace("-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=25+")
    with feeding(tmp_path, database_url, 0, failing) as running:
        assert running.process.wait(60) != 0
        said = running.lines()
        acknowledged = running.acknowledged()
    assert "writing failed twice" in said[-1]
    assert len(acknowledged) >= 24
    with feeding(tmp_path, database_url, -1) as last:
        last.end()
    verify(db, tmp_path, acknowledged)


def test_a_slow_fsync_holds_nobody_up_but_those_that_wait_for_it(
    tmp_path: Path, database_url: str, db: PgConnection
) -> None:
    trace = tmp_path / "trace"
    slow = strace("-o", str(trace), "-e", "trace=fdatasync", "-e", "inject=fdatasync:delay_enter=300000")
    with feeding(tmp_path, database_url, 0, slow) as running:
        eventually(lambda: len(running.acknowledged()) > 500)
        running.end()
        acknowledged = running.acknowledged()
    syncs = trace.read_text().count("fdatasync(")
    assert syncs > 2
    # A loop that waited for the disk would have taken in about one delivery a sync.
    assert len(acknowledged) > 10 * syncs
    verify(db, tmp_path, acknowledged)


def test_a_second_process_is_refused(tmp_path: Path, database_url: str) -> None:
    with feeding(tmp_path, database_url, 0) as first:
        eventually(lambda: len(first.acknowledged()) > 10)
        with feeding(tmp_path, database_url, 1_000_000) as second:
            assert second.process.wait(30) != 0
            assert f"in use by the process with pid {first.process.pid}" in "\n".join(second.lines())
        before = len(first.acknowledged())
        eventually(lambda: len(first.acknowledged()) > before + 10)
        first.end()


def test_a_clock_that_jumps_back_makes_no_name_twice(tmp_path: Path) -> None:
    moments = iter(range(10**15, 0, -(10**12)))
    names: set[str] = set()
    for _ in range(5):
        journal = Journal(tmp_path, quota_bytes=1 << 24, segment_bytes=1 << 16, now_us=lambda: next(moments))
        for number in range(200):
            journal.append(Entry(1, 0, feeder.readings_of(number)))
            journal.sync()
        found = {item.path.name for item in list_segments(tmp_path)}
        assert len(found - names) >= 3
        names |= found
        journal.close()
    assert len(names) == len({name.partition("-")[0] for name in names})
    journal = Journal(tmp_path, quota_bytes=1 << 24, segment_bytes=1 << 16, now_us=lambda: 0)
    seqs = []
    while items := journal.read(10_000):
        seqs += [item.header.seq for item in items]  # type: ignore[union-attr]
    assert seqs == list(range(1, 1001))
    journal.close()
