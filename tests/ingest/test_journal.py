"""The journal: what it promises, one fault at a time, without a server."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pytest

from streaming.delivery import Gap, Rejected
from streaming.extras import Extras, decode_extras
from streaming.spool import Entry, Journal, SpoolFullError
from wellos.errors import ConfigurationError, FatalError
from wellos.quality import Quality
from wellos.readings import Readings, pack
from wellos.spool_format import FRAME, SEGMENT, Frame, Lost, list_segments, read_cursor, scan

if TYPE_CHECKING:
    from collections.abc import Sequence


def open_journal(folder: Path, *, quota: int = 1 << 24, segment: int = 1 << 16) -> Journal:
    return Journal(folder, quota_bytes=quota, segment_bytes=segment, now_us=lambda: 1_700_000_000_000_000)


def readings(first: int, rows: int = 10) -> Readings:
    times = np.arange(first, first + rows) * 1_000_000
    return pack(times, times * 0.5, np.arange(rows), Quality.GOOD, 0xC0)


def entry(first: int, rows: int = 10) -> Entry:
    return Entry(connection_id=7, received_us=first, readings=readings(first, rows))


def fill(journal: Journal, frames: int, rows: int = 10) -> list[int]:
    seqs = [journal.append(entry(n * 100, rows)) for n in range(frames)]
    assert journal.sync() == seqs[-1]
    return seqs


def fill_up(journal: Journal) -> int:
    accepted = 0
    with contextlib.suppress(SpoolFullError):
        while accepted < 1000:
            journal.append(entry(accepted, 1000))
            journal.sync()
            accepted += 1
    return accepted


def seqs(items: Sequence[Frame | Lost]) -> list[int]:
    return [s for i in items for s in (range(i.first_seq, i.last_seq + 1) if isinstance(i, Lost) else [i.header.seq])]


def test_hands_out_what_was_appended_bit_for_bit(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    batch = readings(5)
    batch["value"][3] = np.nan
    rejected = (Rejected("unknown_tag", "no tag", "a/b", b"\x00\xff{"),)
    gaps = (Gap(1, 2, "connection_lost"), Gap(3, 4, "overflow", 9))
    journal.append(Entry(7, 99, batch, rejected, gaps, duplicates=3, shed=2))
    journal.sync()
    (frame,) = journal.read(100)
    assert isinstance(frame, Frame)
    assert frame.readings.tobytes() == batch.tobytes()
    assert decode_extras(frame.extras) == Extras(rejected, gaps)
    header = frame.header
    assert (header.received, header.quarantined, header.duplicates, header.shed, header.rows) == (16, 1, 3, 2, 10)
    assert header.oldest_us == 5_000_000


def test_frames_without_readings_are_handed_out_in_bounded_numbers(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    for n in range(50):
        journal.append(Entry(7, n, gaps=(Gap(1, 2, "poll_missed"),)))
    journal.sync()
    assert 1 < len(journal.read(20)) <= 20
    assert len(journal.read(1000)) > 20


def test_hands_out_nothing_that_is_not_synced(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    journal.append(entry(1))
    assert journal.read(100) == []
    journal.sync()
    assert seqs(journal.read(100)) == [1]
    assert journal.read(100) == []


def test_replays_after_a_restart_from_the_cursor(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 5)
    journal.advance(journal.read(20))
    assert (journal.stored_seq, journal.pending_rows, journal.oldest_us) == (2, 30, 0)
    journal.close()
    again = open_journal(tmp_path)
    assert again.pending_rows == 30
    assert seqs(again.read(1000)) == [3, 4, 5]
    assert fill(again, 1) == [6]
    assert again.spool_id == journal.spool_id


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_the_newest_cursor_slot_wins(tmp_path: Path, steps: int) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 5)
    for _ in range(steps):
        journal.advance(journal.read(10))
    journal.close()
    assert open_journal(tmp_path).stored_seq == steps


def test_backlog_over_many_segments_is_whole_and_then_removed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    expected = [s for _ in range(30) for s in fill(journal, 7, rows=100)]
    assert len(list_segments(tmp_path)) > 5
    got: list[int] = []
    while items := journal.read(500):
        got += seqs(items)
        journal.advance(items)
    assert got == expected
    fill(journal, 1)
    journal.advance(journal.read(500))
    assert len(list_segments(tmp_path)) == 1
    assert (journal.pending_rows, journal.oldest_us) == (0, None)


@pytest.mark.parametrize("cut", [1, FRAME.size - 1, FRAME.size, FRAME.size + 1, FRAME.size + 259])
def test_a_torn_tail_loses_only_the_tail(tmp_path: Path, cut: int) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 4)
    journal.close()
    path = list_segments(tmp_path)[-1].path
    frame = FRAME.size + 260
    os.truncate(path, path.stat().st_size - frame + cut)
    again = open_journal(tmp_path)
    assert fill(again, 1) == [4]
    assert seqs(again.read(1000)) == [1, 2, 3, 4]
    assert not any(isinstance(item, Lost) for item in scan(tmp_path))


def test_any_flipped_bit_costs_at_most_its_frame_and_is_counted(tmp_path: Path) -> None:
    journal = open_journal(tmp_path / "spool")
    fill(journal, 3)
    journal.close()
    path = list_segments(tmp_path / "spool")[-1].path
    whole = path.read_bytes()
    originals = [entry(n * 100).readings.tobytes() for n in range(3)]
    frame = FRAME.size + 260
    for at in range(SEGMENT.size, len(whole), 3):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        again = open_journal(tmp_path / "spool")
        items = again.read(1000)
        hit = (at - SEGMENT.size) // frame
        assert seqs(items) == [1, 2, 3], at
        for n, item in enumerate(items):
            if n == hit:
                assert isinstance(item, Lost), at
            else:
                assert isinstance(item, Frame), at
                assert item.readings.tobytes() == originals[n]
        again.close()
        for extra in list_segments(tmp_path / "spool")[1:]:
            extra.path.unlink()


def test_a_damaged_segment_is_set_aside_when_the_rest_is_stored(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.close()
    path = list_segments(tmp_path)[-1].path
    damaged = bytearray(path.read_bytes())
    damaged[SEGMENT.size + FRAME.size + 5] ^= 1
    path.write_bytes(damaged)
    again = open_journal(tmp_path)
    items = again.read(1000)
    lost = items[0]
    assert isinstance(lost, Lost)
    assert (lost.first_seq, lost.last_seq, lost.connection_id, lost.rows) == (1, 1, 7, 10)
    assert lost.detail == f"{path.name}: damaged payload"
    again.advance(items)
    assert not path.exists()
    assert (tmp_path / "aside" / path.name).read_bytes() == damaged


def test_a_frame_of_an_unknown_schema_does_not_stop_the_drain(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 2)
    journal.close()
    path = list_segments(tmp_path)[-1].path
    raw = bytearray(path.read_bytes())
    raw[SEGMENT.size + 4] = 99
    raw[SEGMENT.size + FRAME.size - 4 : SEGMENT.size + FRAME.size] = _crc(raw[SEGMENT.size : SEGMENT.size + FRAME.size])
    path.write_bytes(raw)
    lost, frame = open_journal(tmp_path).read(1000)
    assert isinstance(lost, Lost)
    assert "payload schema 99 is not known" in lost.detail
    assert isinstance(frame, Frame)


def _crc(header: bytearray) -> bytes:
    return crc32(header[:-4]).to_bytes(4, "little")


def test_a_damaged_last_frame_keeps_its_sequence(tmp_path: Path) -> None:
    """It may have been stored before the crash: a new frame of that sequence would be taken for a replay."""
    journal = open_journal(tmp_path)
    fill(journal, 2)
    journal.close()
    path = list_segments(tmp_path)[-1].path
    raw = bytearray(path.read_bytes())
    raw[-FRAME.size - 260] ^= 0x10
    path.write_bytes(raw)
    again = open_journal(tmp_path)
    assert fill(again, 1) == [3]
    assert seqs(again.read(1000)) == [1, 2, 3]


@pytest.mark.parametrize("slots", [[0], [4096]])
def test_one_damaged_cursor_slot_replays_at_most_one_step(tmp_path: Path, slots: list[int]) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 4)
    for _ in range(3):
        journal.advance(journal.read(10))
    journal.close()
    cursor = bytearray((tmp_path / "cursor").read_bytes())
    for slot in slots:
        cursor[slot + 6] ^= 1
    (tmp_path / "cursor").write_bytes(cursor)
    assert read_cursor(tmp_path)[1] in {2, 3}
    again = open_journal(tmp_path)
    assert seqs(again.read(1000))[-1] == 4
    assert again.append(entry(1)) == 5


def test_sequences_go_on_when_all_is_stored_and_the_cursor_is_gone(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 3)
    journal.advance(journal.read(1000))
    journal.close()
    open_journal(tmp_path).close()
    (tmp_path / "cursor").unlink()
    assert open_journal(tmp_path).append(entry(1)) == 4


def test_the_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    code = f"""
from pathlib import Path
from streaming.spool import Journal
Journal(Path({str(tmp_path)!r}), quota_bytes=1<<24, segment_bytes=1<<16, now_us=lambda: 0)
"""
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"in use by the process with pid {os.getpid()}" in second.stderr
    with pytest.raises(ConfigurationError):
        open_journal(tmp_path)
    journal.close()
    open_journal(tmp_path)


def test_the_quota_refuses_intake_and_opens_again_after_the_drain(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, quota=1 << 20)
    accepted = fill_up(journal)
    assert accepted > 30
    with pytest.raises(SpoolFullError):
        journal.append(entry(0, 1000))
    drained = 0
    while items := journal.read(1000):
        drained += len(items)
        journal.advance(items)
    assert drained == accepted
    assert journal.used_bytes < 1 << 19
    journal.append(entry(0, 1000))


def test_a_failed_fsync_moves_the_frames_to_a_new_segment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 2)
    real, failures, synced = os.fdatasync, [1], []

    def flaky(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if failures:
            failures.pop()
            raise OSError(errno.EIO, "planted")
        real(descriptor)

    monkeypatch.setattr(os, "fdatasync", flaky)
    assert journal.append(entry(50)) == 3
    assert journal.sync() == 3
    assert len(set(synced)) == len(synced) == 2
    assert seqs(journal.read(1000)) == [1, 2, 3]
    journal.close()
    assert seqs(open_journal(tmp_path).read(1000)) == [1, 2, 3]


def test_a_second_failure_is_fatal_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 2)

    def broken(_descriptor: int) -> None:
        raise OSError(errno.EIO, "planted")

    monkeypatch.setattr(os, "fdatasync", broken)
    journal.append(entry(50))
    with pytest.raises(FatalError, match="failed twice"):
        journal.sync()
    with pytest.raises(FatalError):
        journal.append(entry(51))
    assert seqs(journal.read(1000)) == [1, 2]


def test_a_full_disk_refuses_intake_keeps_draining_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 2)
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if len(data) > 200:
            real(descriptor, data[:100], offset)
            raise OSError(errno.ENOSPC, "planted")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    journal.append(entry(50))
    for _ in range(2):
        with pytest.raises(SpoolFullError):
            journal.sync()
    items = journal.read(1000)
    assert seqs(items) == [1, 2]
    journal.advance(items)
    assert read_cursor(tmp_path)[1] == 2
    segment = list_segments(tmp_path)[-1].path
    assert segment.stat().st_size == journal.used_bytes - FRAME.size - 260
    monkeypatch.setattr(os, "pwrite", real)
    assert journal.sync() == 3
    assert seqs(journal.read(1000)) == [3]


def test_no_file_is_synced_again_after_the_disk_was_full_for_the_new_segment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = open_journal(tmp_path)
    fill(journal, 1)
    real_sync, real_fsync, synced = os.fdatasync, os.fsync, []

    def broken(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        raise OSError(errno.ENOSPC, "planted")

    monkeypatch.setattr(os, "fdatasync", broken)
    monkeypatch.setattr(os, "fsync", broken)
    journal.append(entry(5))
    for _ in range(3):
        with pytest.raises(SpoolFullError):
            journal.sync()
    assert len([name for name in synced if name.endswith("1.seg")]) == 1
    monkeypatch.setattr(os, "fdatasync", real_sync)
    monkeypatch.setattr(os, "fsync", real_fsync)
    assert journal.sync() == 2
    assert seqs(journal.read(1000)) == [1, 2]
