"""Stored segments that the journal keeps: how long, how many, that they cost no room, and how they are used again."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

import pytest

from streaming.spool import Journal, SpoolFullError
from tests.ingest.test_journal import entry, fill, seqs
from wellos.spool_format import Frame, Lost, list_segments, scan

if TYPE_CHECKING:
    from pathlib import Path

SEGMENT_BYTES = 1 << 14
ROWS = 200  # three frames fill a segment


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def open_keeping(
    folder: Path, *, keep_bytes: int = 1 << 24, keep_s: float = 60, quota: int = 1 << 24, time: Time | None = None
) -> Journal:
    return Journal(
        folder,
        quota_bytes=quota,
        segment_bytes=SEGMENT_BYTES,
        now_us=lambda: 1_700_000_000_000_000,
        keep_bytes=keep_bytes,
        keep_s=keep_s,
        monotonic=time or Time(),
    )


def store_all(journal: Journal) -> list[int]:
    got: list[int] = []
    while items := journal.read(1000):
        got += seqs(items)
        journal.advance(items)
    return got


def test_kept_frames_are_handed_out_again_as_they_were(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    for _ in range(4):
        fill(journal, 5, ROWS)
    store_all(journal)
    assert (journal.kept_seq, journal.pending_rows) == (1, 0)
    journal.rewind(6)
    assert (journal.stored_seq, journal.pending_rows) == (6, 14 * ROWS)
    fill(journal, 2, ROWS)
    items = journal.read(100_000)
    assert seqs(items) == list(range(7, 23))
    assert isinstance(items[0], Frame)
    assert items[0].readings.tobytes() == entry(100, ROWS).readings.tobytes()
    assert journal.oldest_us == 0
    journal.advance(items)
    assert (journal.pending_rows, journal.stored_seq) == (0, 22)


def test_a_rewind_to_what_is_stored_does_nothing(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    fill(journal, 5, ROWS)
    items = journal.read(ROWS * 2)
    journal.advance(items)
    journal.rewind(2)
    journal.rewind(9)
    assert seqs(journal.read(100_000)) == [3, 4, 5]


def test_what_was_read_and_not_stored_comes_again_after_a_rewind(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    fill(journal, 6, ROWS)
    journal.advance(journal.read(2 * ROWS))
    assert seqs(journal.read(2 * ROWS)) == [3, 4]
    journal.rewind(1)
    assert store_all(journal) == [2, 3, 4, 5, 6]
    assert journal.pending_rows == 0


def test_what_is_kept_no_more_is_handed_out_as_lost(tmp_path: Path) -> None:
    time = Time()
    journal = open_keeping(tmp_path, keep_s=10, time=time)
    for _ in range(3):
        fill(journal, 3, ROWS)
        store_all(journal)
    time.now = 11
    for _ in range(2):
        fill(journal, 3, ROWS)
        store_all(journal)
    kept = journal.kept_seq
    assert 3 < kept < 15
    journal.rewind(2)
    lost, *frames = journal.read(100_000)
    assert isinstance(lost, Lost)
    assert (lost.first_seq, lost.last_seq, lost.until_us) == (3, kept - 1, 1_700_000_000_000_000)
    assert seqs(frames) == list(range(kept, 16))


def test_very_many_lost_sequences_come_in_parts(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path, keep_bytes=0)
    for _ in range(500):
        for n in range(50):
            journal.append(entry(n, 1))
        journal.sync()
    store_all(journal)
    journal.close()
    journal = open_keeping(tmp_path, keep_bytes=0)
    fill(journal, 1)
    journal.advance(journal.read(1000))
    kept = journal.kept_seq
    assert kept > 20_000
    journal.rewind(0)
    first = journal.read(1000)
    assert [(item.first_seq, item.last_seq) for item in first if isinstance(item, Lost)] == [(1, 10_000)]
    journal.advance(first)
    assert store_all(journal) == list(range(10_001, 25_002))


@pytest.mark.parametrize(("keep_bytes", "keep_s"), [(0, 60), (1 << 20, 0)])
def test_zero_keeps_nothing(tmp_path: Path, keep_bytes: int, keep_s: float) -> None:
    journal = open_keeping(tmp_path, keep_bytes=keep_bytes, keep_s=keep_s)
    for _ in range(5):
        fill(journal, 3, ROWS)
    store_all(journal)
    assert journal.kept_bytes == 0
    assert len(list_segments(tmp_path)) == 1


def test_the_oldest_go_first_when_there_are_too_many(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path, keep_bytes=3 * SEGMENT_BYTES)
    for _ in range(10):
        fill(journal, 3, ROWS)
    store_all(journal)
    assert 2 * SEGMENT_BYTES < journal.kept_bytes <= 3 * SEGMENT_BYTES
    assert list_segments(tmp_path)[0].first_seq == journal.kept_seq > 15


def test_kept_segments_age_only_while_the_database_takes_readings(tmp_path: Path) -> None:
    time = Time()
    journal = open_keeping(tmp_path, keep_s=10, time=time)
    for _ in range(3):
        fill(journal, 3, ROWS)
        store_all(journal)
    time.now = 1000
    fill(journal, 3, ROWS)
    assert journal.kept_seq == 1
    store_all(journal)
    assert journal.kept_seq > 6


def test_kept_segments_never_refuse_intake(tmp_path: Path) -> None:
    quota = 1 << 20
    journal = open_keeping(tmp_path, quota=quota)
    accepted = 0
    for _ in range(100):
        fill(journal, 3, ROWS)
        accepted += len(store_all(journal))
        assert sum(item.path.stat().st_size for item in list_segments(tmp_path)) <= quota
    assert accepted == 300
    assert journal.kept_bytes > quota // 2
    with contextlib.suppress(SpoolFullError):
        for _ in range(1000):
            fill(journal, 1, ROWS)
    with pytest.raises(SpoolFullError):
        fill(journal, 1, ROWS)
    assert journal.kept_bytes == 0
    assert journal.used_bytes > quota * 0.9


def test_a_full_disk_takes_the_kept_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = open_keeping(tmp_path)
    for _ in range(5):
        fill(journal, 3, ROWS)
    store_all(journal)
    real, limit = os.pwrite, sum(item.path.stat().st_size for item in list_segments(tmp_path))

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if sum(item.path.stat().st_size for item in list_segments(tmp_path)) + len(data) > limit:
            raise OSError(errno.ENOSPC, "planted")
        return real(descriptor, data, offset)

    monkeypatch.setattr(os, "pwrite", full)
    kept = journal.kept_bytes
    assert fill(journal, 1, ROWS) == [16]
    assert 0 < journal.kept_bytes < kept
    assert store_all(journal) == [16]


def test_kept_segments_are_found_again_after_a_restart(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    for _ in range(5):
        fill(journal, 3, ROWS)
    store_all(journal)
    journal.close()
    assert list(scan(tmp_path)) == []
    again = open_keeping(tmp_path)
    assert (again.pending_rows, again.kept_seq) == (0, 1)
    again.rewind(4)
    assert store_all(again) == list(range(5, 16))
    assert fill(again, 1) == [16]


def test_a_rewind_survives_a_restart(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    for _ in range(5):
        fill(journal, 3, ROWS)
    store_all(journal)
    journal.rewind(4)
    journal.advance(journal.read(ROWS))
    journal.close()
    again = open_keeping(tmp_path)
    assert again.pending_rows == 10 * ROWS
    assert store_all(again) == list(range(6, 16))


def test_damage_in_a_kept_segment_is_found_when_it_is_needed(tmp_path: Path) -> None:
    journal = open_keeping(tmp_path)
    for _ in range(5):
        fill(journal, 3, ROWS)
    store_all(journal)
    path = list_segments(tmp_path)[1].path
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 4
    path.write_bytes(raw)
    assert list(scan(tmp_path)) == []
    journal.rewind(0)
    items = journal.read(100_000)
    assert seqs(items) == list(range(1, 16))
    assert sum(isinstance(item, Lost) for item in items) == 1
    assert (tmp_path / "aside" / path.name).read_bytes() == raw


def test_without_its_cursor_it_begins_with_the_oldest_segment(tmp_path: Path) -> None:
    """What was removed was stored: a ledger that has forgotten it with age must not be told that it is lost."""
    journal = open_keeping(tmp_path, keep_bytes=2 * SEGMENT_BYTES)
    for _ in range(6):
        fill(journal, 3, ROWS)
    store_all(journal)
    kept = journal.kept_seq
    assert kept > 6
    journal.close()
    (tmp_path / "cursor").unlink()
    again = open_keeping(tmp_path, keep_bytes=2 * SEGMENT_BYTES)
    assert again.stored_seq == kept - 1
    assert store_all(again) == list(range(kept, 19))
