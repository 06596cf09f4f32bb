"""What the audit calls pending and what lost: holes and damage, but no torn tail and nothing that is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ingest.test_journal import fill
from tests.ingest.test_journal_kept import open_keeping, store_all
from wellos.audit_spool import Pending, pending_of, scan_spool
from wellos.readings import READING
from wellos.spool_format import FRAME, SEGMENT, list_segments

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS, FRAMES, STORED = 200, 12, 4
SIZE = FRAME.size + ROWS * READING.itemsize


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    """Twelve frames, three a segment, of which four are stored."""
    journal = open_keeping(tmp_path)
    for number in range(FRAMES):
        fill(journal, 1, ROWS)
        if number + 1 == STORED:
            store_all(journal)
    journal.close()
    return tmp_path


def look(spool: Path, last: int = STORED) -> Pending:
    return pending_of(scan_spool(spool), last)


def flip(spool: Path, seq: int, at: int) -> None:
    """Flip a bit of the frame `seq`."""
    segment = [item for item in list_segments(spool) if item.first_seq <= seq][-1]
    raw = bytearray(segment.path.read_bytes())
    raw[SEGMENT.size + (seq - segment.first_seq) * SIZE + at] ^= 4
    segment.path.write_bytes(raw)


@pytest.mark.parametrize("seq", range(STORED + 1, FRAMES + 1))
@pytest.mark.parametrize("at", [2, 30, FRAME.size + 9])
def test_a_flipped_bit_of_what_is_pending_is_a_problem(spool: Path, seq: int, at: int) -> None:
    flip(spool, seq, at)
    found = look(spool)
    assert [header.seq for header in found.headers] == [n for n in range(STORED + 1, FRAMES + 1) if n != seq]
    assert found.damaged == 1
    assert [problem.split(" cannot")[0] for problem in found.problems] == [f"pending sequence {seq}"]
    assert look(spool, FRAMES) == Pending()


@pytest.mark.parametrize("seq", range(1, STORED + 1))
@pytest.mark.parametrize("at", [2, 30, FRAME.size + 9])
def test_a_flipped_bit_of_what_is_stored_is_none(spool: Path, seq: int, at: int) -> None:
    flip(spool, seq, at)
    found = look(spool)
    assert (len(found.headers), found.damaged, found.problems) == (FRAMES - STORED, 0, [])


def test_what_the_ledger_has_beyond_the_cursor_is_not_pending(spool: Path) -> None:
    found = look(spool, 8)
    assert [header.seq for header in found.headers] == [9, 10, 11, 12]
    flip(spool, 7, 30)
    assert look(spool, 8) == found


def _delete(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(SEGMENT.size + SIZE + 10)


@pytest.mark.parametrize(("spoil", "first"), [(_delete, 7), (_cut, 8)])
def test_a_hole_is_a_problem(spool: Path, spoil: Callable[[Path], None], first: int) -> None:
    middle = next(item for item in list_segments(spool) if item.first_seq == 7)
    spoil(middle.path)
    (problem,) = look(spool).problems
    assert problem.startswith(f"pending sequences {first} to 9 cannot be read (missing in front of 0")


def test_a_hole_in_front_of_an_empty_segment_is_a_problem(spool: Path) -> None:
    open_keeping(spool).close()
    assert look(spool).problems == []
    next(item for item in list_segments(spool) if item.first_seq == 10).path.unlink()
    (problem,) = look(spool).problems
    assert problem.startswith("pending sequences 10 to 12")


def test_a_torn_tail_is_none(spool: Path) -> None:
    last = list_segments(spool)[-1].path
    with last.open("r+b") as file:
        file.truncate(last.stat().st_size - SIZE // 2)
    found = look(spool)
    assert ([header.seq for header in found.headers][-1], found.damaged, found.problems) == (FRAMES - 1, 0, [])


def test_the_journal_loses_what_is_said(spool: Path) -> None:
    flip(spool, 6, 30)
    flip(spool, FRAMES, 2)
    assert [problem.split()[2] for problem in look(spool).problems] == ["6", "12"]
    journal = open_keeping(spool)
    items = journal.read(10_000)
    journal.close()
    assert [item.first_seq for item in items if not hasattr(item, "header")] == [6, 12]
