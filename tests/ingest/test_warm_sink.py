"""The PostgreSQL sink on a real server: exactly once, merged by rule, poison found, counts exact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streaming.delivery import Gap, Rejected
from streaming.extras import Extras, encode_extras
from streaming.sinks.warm import RefusedError, UnavailableError, WarmSink
from wellos.clock import WallClock, from_micros
from wellos.quality import Quality
from wellos.readings import READING, Readings, pack
from wellos.settings import Settings, load_settings
from wellos.spool_format import Frame, Header, Lost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from wellos.storage.warm import PgConnection

BAD, UNCERTAIN, GOOD = Quality.BAD, Quality.UNCERTAIN, Quality.GOOD
NOW = 1_763_700_000_000_000


def frame(
    seq: int,
    readings: Readings,
    rejected: Sequence[Rejected] = (),
    gaps: Sequence[Gap] = (),
    duplicates: int = 0,
    shed: int = 0,
) -> Frame:
    received = len(readings) + len(rejected) + duplicates + shed
    header = Header(1, 0, 0, seq, 3, NOW, NOW, received, len(rejected), duplicates, shed, len(readings), 0)
    return Frame(header, readings, encode_extras(Extras(tuple(rejected), tuple(gaps))))


def batch(*rows: tuple[int, int, float, int]) -> Readings:
    """Make readings of (tag, second, value, quality)."""
    tags, seconds, values, quality = zip(*rows, strict=True)
    return pack(np.array(seconds) * 1_000_000 + NOW, values, tags, quality, 0x80000000)


@pytest.fixture
def spool_id() -> UUID:
    return uuid4()


@pytest.fixture
def sink(database_settings: Settings, spool_id: UUID) -> Iterator[WarmSink]:
    made = WarmSink(database_settings, spool_id, WallClock())
    yield made
    made.close()


def ledger(db: PgConnection) -> list[tuple[int, ...]]:
    return db.execute(
        "SELECT seq, rows, stored, repeated, replaced, superseded, poisoned FROM ingest_ledger ORDER BY seq"
    ).fetchall()


def stored(db: PgConnection) -> list[tuple[int, int, float, int]]:
    rows = db.execute("SELECT tag_id, time, value, quality FROM readings ORDER BY tag_id, time").fetchall()
    return [(tag, round((t - from_micros(NOW)).total_seconds()), value, quality) for tag, t, value, quality in rows]


def test_stores_readings_with_their_ledger_quarantine_and_gaps(sink: WarmSink, db: PgConnection) -> None:
    rejected = [Rejected("unknown\0tag", "\ud800", "a/b", b"\x00\xff"), Rejected("future", "f", "s", b"")]
    gaps = [Gap(NOW, NOW + 5, "connection_lost"), Gap(NOW + 9, NOW, "overflow", 7)]
    done = sink.commit([frame(1, batch((1, 0, 1.5, GOOD), (2, 0, math.nan, BAD)), rejected, gaps, 3, 2)])
    assert (done.frames, done.stored, done.skipped) == (1, 2, 0)
    assert db.execute("SELECT value, quality, status FROM readings WHERE tag_id = 1").fetchall() == [
        (1.5, 2, -0x80000000)
    ]
    row = db.execute("SELECT received, quarantined, duplicates, shed, rows, received_at FROM ingest_ledger").fetchone()
    assert row == (9, 2, 3, 2, 2, from_micros(NOW))
    kept = db.execute("SELECT ordinal, reason, detail, source, original FROM quarantine ORDER BY ordinal").fetchall()
    assert kept == [(0, "unknown\ufffdtag", "?", "a/b", b"\x00\xff"), (1, "future", "f", "s", b"")]
    spans = db.execute("SELECT tag_id, started_at, ended_at, reason FROM ingest_gaps ORDER BY gap_id").fetchall()
    assert spans == [
        (None, from_micros(NOW), from_micros(NOW + 5), "connection_lost"),
        (7, from_micros(NOW + 9), from_micros(NOW + 9), "overflow"),
    ]


def test_a_replay_stores_nothing_twice(sink: WarmSink, db: PgConnection, spool_id: UUID, tmp_path: Path) -> None:
    frames = [frame(n, batch((1, n, float(n), GOOD))) for n in range(1, 6)]
    sink.commit(frames[:3])
    url = sink._settings.database_url
    again = WarmSink(load_settings(database_url=url, data_dir=tmp_path), spool_id, WallClock())
    done = again.commit(frames)
    assert (done.skipped, done.stored) == (3, 2)
    # Without having asked: the ledger's key refuses, nothing is stored, the next attempt asks.
    with pytest.raises(UnavailableError):
        sink.commit(frames)
    assert sink.commit(frames).skipped == 5
    assert [row[0] for row in ledger(db)] == [1, 2, 3, 4, 5]
    assert len(stored(db)) == 5
    again.close()


def test_a_day_of_any_age_is_stored(sink: WarmSink, db: PgConnection) -> None:
    ages = [0, 1, 400, 20_000]
    times = [NOW - age * 86_400_000_000 for age in ages]
    assert sink.commit([frame(1, pack(times, 1.0, 1, GOOD))]).stored == 4
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (4,)


def test_what_cannot_be_read_back_leaves_no_hole(sink: WarmSink, db: PgConnection) -> None:
    sink.commit(
        [
            frame(1, batch((1, 0, 1, GOOD))),
            Lost(2, 4, "0001.seg: damaged", 3, 9, b"left"),
            frame(5, batch((1, 1, 1, 2))),
        ]
    )
    assert [row[:3] for row in ledger(db)] == [(1, 1, 1), (2, 0, 0), (3, 0, 0), (4, 0, 0), (5, 1, 1)]
    assert db.execute("SELECT seq, ordinal, reason, original FROM quarantine").fetchall() == [
        (2, -1, "corrupt_frame", b"left")
    ]


def test_better_quality_wins_then_the_last_received(sink: WarmSink, db: PgConnection) -> None:
    sink.commit([frame(1, batch((1, 0, 10, UNCERTAIN), (2, 0, 20, GOOD), (3, 0, 30, GOOD), (4, 0, 40, GOOD)))])
    done = sink.commit(
        [
            frame(2, batch((1, 0, 11, GOOD), (2, 0, 21, UNCERTAIN), (3, 0, 31, GOOD), (4, 0, 40, GOOD), (5, 0, 5, 2))),
            frame(3, batch((6, 0, 60, GOOD), (6, 0, 60, GOOD), (6, 0, 61, BAD), (3, 0, 32, GOOD))),
        ]
    )
    assert (done.stored, done.repeated, done.replaced, done.superseded) == (2, 2, 3, 2)
    assert stored(db) == [(1, 0, 11, 2), (2, 0, 20, 2), (3, 0, 32, 2), (4, 0, 40, 2), (5, 0, 5, 2), (6, 0, 60, 2)]
    assert ledger(db)[1:] == [(2, 5, 1, 1, 2, 1, 0), (3, 4, 1, 1, 1, 1, 0)]
    lost = db.execute("SELECT tag_id, value, quality, outcome, seq FROM reading_revisions ORDER BY 1, 2").fetchall()
    assert lost == [
        (1, 10, 1, "replaced", 2),
        (2, 21, 1, "superseded", 2),
        (3, 30, 2, "replaced", 2),
        (3, 31, 2, "replaced", 3),
        (6, 61, 0, "superseded", 3),
    ]


_ROW = st.tuples(st.integers(1, 2), st.integers(0, 1), st.sampled_from([0.0, 1.0, 2.0]), st.integers(0, 2))
_FRAMES = st.lists(st.lists(_ROW, min_size=0, max_size=6), min_size=1, max_size=4)


@given(calls=st.lists(_FRAMES, min_size=1, max_size=3))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_merging_equals_a_plain_model(
    calls: list[list[list[tuple[int, int, float, int]]]], database_settings: Settings, db: PgConnection
) -> None:
    db.execute("TRUNCATE readings, ingest_ledger, reading_revisions")
    sink, seq, revisions = WarmSink(database_settings, uuid4(), WallClock()), 0, []
    current: dict[tuple[int, int], tuple[float, int]] = {}
    expected = []
    for call in calls:
        frames = []
        for rows in call:
            seq += 1
            counts = dict.fromkeys(("stored", "repeated", "replaced", "superseded"), 0)
            for tag, second, value, quality in rows:
                old = current.get((tag, second))
                won = old is None or (quality >= old[1] and old != (value, quality))
                outcome = (
                    "stored"
                    if old is None
                    else "repeated"
                    if old == (value, quality)
                    else "replaced"
                    if won
                    else "superseded"
                )
                counts[outcome] += 1
                if outcome == "replaced":
                    assert old is not None
                    revisions.append((tag, *old, outcome))
                if outcome == "superseded":
                    revisions.append((tag, value, quality, outcome))
                if won:
                    current[tag, second] = (value, quality)
            expected.append((seq, len(rows), *counts.values(), 0))
            frames.append(frame(seq, batch(*rows) if rows else batch((1, 0, 0, 0))[:0]))
        sink.commit(frames)
    sink.close()
    assert stored(db) == [(tag, second, *content) for (tag, second), content in sorted(current.items())]
    assert ledger(db) == expected
    found = db.execute("SELECT tag_id, value, quality, outcome FROM reading_revisions").fetchall()
    assert sorted(found) == sorted(revisions)


def test_poison_is_found_and_the_rest_is_stored(sink: WarmSink, db: PgConnection) -> None:
    good = [frame(n, batch(*[(tag, n, 1.0, GOOD) for tag in range(1, 101)])) for n in (1, 2, 3)]
    bad = batch(*[(tag, 9, 1.0, GOOD) for tag in range(1, 101)])
    bad["quality"][17] = 7
    bad["value"][60] = 1e300
    done = sink.commit([*good, frame(4, bad, [Rejected("malformed", "d", "s", b"x")]), frame(5, batch((1, 10, 1, 2)))])
    assert (done.stored, done.poisoned, done.frames) == (399, 2, 5)
    assert [row[1:3] + row[6:] for row in ledger(db)] == [(100, 100, 0)] * 3 + [(100, 98, 2), (1, 1, 0)]
    kept = db.execute("SELECT ordinal, reason, original FROM quarantine ORDER BY ordinal").fetchall()
    assert [row[:2] for row in kept] == [(0, "malformed"), (18, "refused"), (61, "refused")]
    assert np.frombuffer(kept[1][2], READING)[0] == bad[17]


def test_poison_among_conflicts(sink: WarmSink, db: PgConnection) -> None:
    sink.commit([frame(1, batch((1, 0, 1, GOOD), (2, 0, 2, GOOD)))])
    bad = batch((1, 0, 5, GOOD), (2, 0, 2, GOOD), (3, 0, 3, 9))
    done = sink.commit([frame(2, bad), frame(3, batch((4, 0, 4, GOOD)))])
    assert (done.stored, done.repeated, done.replaced, done.poisoned) == (1, 1, 1, 1)
    assert stored(db) == [(1, 0, 5, 2), (2, 0, 2, 2), (4, 0, 4, 2)]


def test_a_missing_table_is_refused_and_works_after_mending(sink: WarmSink, db: PgConnection) -> None:
    db.execute("ALTER TABLE ingest_ledger RENAME TO away")
    with pytest.raises(RefusedError, match="ingest_ledger"):
        sink.commit([frame(1, batch((1, 0, 1, GOOD)))])
    db.execute("ALTER TABLE away RENAME TO ingest_ledger")
    assert sink.commit([frame(1, batch((1, 0, 1, GOOD)))]).stored == 1


def test_no_server_is_unavailable(tmp_path: Path) -> None:
    made = WarmSink(
        load_settings(database_url="postgresql://x:hunter2@127.0.0.1:1/x", data_dir=tmp_path), uuid4(), WallClock()
    )
    with pytest.raises(UnavailableError) as caught:
        made.commit([frame(1, batch((1, 0, 1, GOOD)))])
    assert "hunter2" not in str(caught.value)


def test_a_killed_session_is_unavailable_and_then_goes_on(sink: WarmSink, db: PgConnection) -> None:
    sink.commit([frame(1, batch((1, 0, 1, GOOD)))])
    db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with pytest.raises(UnavailableError):
        sink.commit([frame(2, batch((1, 1, 1, GOOD)))])
    assert sink.commit([frame(2, batch((1, 1, 1, GOOD)))]).stored == 1


def test_how_far_the_ledger_goes(sink: WarmSink, db: PgConnection) -> None:
    assert sink.committed_up_to(1, 20) == 0, "a ledger without a row of this spool"
    sink.commit([frame(seq, batch((1, seq, 1.0, GOOD))) for seq in range(1, 21)])
    assert sink.committed_up_to(1, 20) == 20
    assert sink.committed_up_to(1, 12) == 12, "behind the cursor all may be committed or not"
    db.execute("DELETE FROM ingest_ledger WHERE seq > 17")
    assert sink.committed_up_to(1, 20) == 17, "the newest are gone: an older copy of the database"
    assert sink.committed_up_to(19, 20) == 17, "and what is kept begins later"
    db.execute("DELETE FROM ingest_ledger WHERE seq <= 8")
    assert sink.committed_up_to(1, 17) == 17, "the oldest are gone: deleted with age, not lost"
    assert sink.committed_up_to(1, 5) == 5
    db.execute("DELETE FROM ingest_ledger WHERE seq IN (12, 14)")
    assert sink.committed_up_to(1, 17) == 11, "a hole"
    assert sink.committed_up_to(13, 17) == 13, "what lies before the kept ones cannot be stored again"
    assert sink.committed_up_to(14, 17) == 13
    assert sink.committed_up_to(15, 17) == 17


def test_frames_behind_a_hole_are_skipped_without_an_error(sink: WarmSink, db: PgConnection) -> None:
    frames = [frame(seq, batch((1, seq, 1.0, GOOD))) for seq in range(1, 11)]
    sink.commit(frames)
    db.execute("DELETE FROM ingest_ledger WHERE seq = 4")
    db.execute("DELETE FROM readings WHERE time = (SELECT time FROM readings ORDER BY time OFFSET 3 LIMIT 1)")
    assert sink.committed_up_to(1, 10) == 3
    again = [sink.commit([item]) for item in frames[3:]]
    assert [(done.stored, done.skipped) for done in again] == [(1, 0)] + [(0, 1)] * 6
    assert len(stored(db)) == 10


def test_what_the_spool_lost_is_a_gap(sink: WarmSink, db: PgConnection) -> None:
    sink.commit([frame(1, batch((1, 1, 1.0, GOOD)))])
    later = NOW + 90_000_000
    sink.commit([Lost(2, 5, "segment missing", until_us=later), Lost(6, 9, "segment missing", until_us=later)])
    sink.commit([Lost(10, 10, "a.seg: damaged payload", 8, 40, b"x", NOW - 5_000_000, NOW)])
    gaps = db.execute(
        "SELECT seq, connection_id, started_at, ended_at, reason FROM ingest_gaps ORDER BY seq"
    ).fetchall()
    assert gaps == [
        (2, 3, from_micros(NOW), from_micros(later), "spool_lost"),
        (10, 8, from_micros(NOW - 5_000_000), from_micros(NOW), "spool_lost"),
    ]
