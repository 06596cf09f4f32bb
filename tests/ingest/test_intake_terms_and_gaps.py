"""Intake: the term is that of the delivery's arrival, and a full spool hides no gap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.delivery import Delivery, Gap
from streaming.intake import _rounds, _split, _weight
from streaming.spool import Entry
from tests.ingest.test_intake import Rig

if TYPE_CHECKING:
    from pathlib import Path


def test_a_batch_is_cut_where_a_connection_changes_its_term() -> None:
    one, two, three = Delivery(1, 1), Delivery(2, 2), Delivery(1, 3)
    assert _rounds([(1, one), (5, two), (2, three)]) == [({1: 1, 2: 5}, [one, two]), ({1: 2}, [three])]


async def test_a_queued_delivery_keeps_the_term_it_came_under(tmp_path: Path) -> None:
    rig, term = Rig(tmp_path), [1]
    rig.intake._term = lambda _: term[0]  # type: ignore[method-assign, assignment]
    await rig.intake.emit(Delivery(1, 1, gaps=(Gap(1, 2, "disconnected"),)))
    term[0] = 2
    await rig.intake.emit(Delivery(1, 2, gaps=(Gap(2, 3, "disconnected"),)))
    assert [entry.term for entry in rig.intake._check(list(rig.intake._queue))] == [1, 2]
    rig.journal.close()


def test_gaps_too_many_to_keep_lie_within_the_gap_of_the_full_spool(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.intake._refuse(Delivery(1, 10**9, gaps=(Gap(1, 2, "disconnected"),)))
    rig.intake._refuse(Delivery(1, 10**9, gaps=tuple(Gap(10**9, 10**9 + 1, "poll_missed", n) for n in range(2000))))
    gaps = rig.intake._shed[1].entry(1).gaps
    assert (gaps[0].reason, gaps[0].start_us, gaps[0].end_us) == ("spool_full", 1, 10**9 + 1)
    rig.journal.close()


def test_gaps_weigh_and_are_cut_as_readings_are(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    gaps = tuple(Gap(n, n + 1, "sequence_jump", n) for n in range(10**6, 10**6 + 100_000))
    assert _weight(Delivery(1, 1, gaps=gaps)) == len(gaps)
    parts = _split(Entry(1, 1, gaps=gaps, duplicates=3), rig.journal.max_frame_bytes)
    assert all(len(part.encode_payload()) <= rig.journal.max_frame_bytes for part in parts)
    assert tuple(gap for part in parts for gap in part.gaps) == gaps
    assert [part.duplicates for part in parts if part.duplicates] == [3]
    rig.journal.close()
