"""The way a batch takes into the table: COPY, looking up the suspects, looking up all; and back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np

from streaming.sinks.conflicts import Conflicts, Way
from streaming.sinks.warm import WarmSink
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import Readings, empty, pack
from wellos.spool_format import Frame, Header
from wellos.storage.merge import judge

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

NOW = 1_763_700_000_000_000


def batch(first: int, count: int = 10) -> Readings:
    ids = np.arange(first, first + count)
    return pack(NOW + ids, ids * 0.5, 1 + ids % 3, Quality.GOOD)


def frame(seq: int, readings: Readings) -> Frame:
    return Frame(Header(1, 0, 0, seq, 3, NOW, NOW, len(readings), 0, 0, 0, len(readings), 0), readings, b"")


def way(conflicts: Conflicts) -> Way:
    return conflicts.way


def test_conflicts_keep_looking_up_and_calm_ends_it() -> None:
    conflicts = Conflicts()
    conflicts.learn(batch(0), None)
    assert way(conflicts) is Way.COPY
    assert conflicts.suspects(batch(5)).tolist() == [True] * 5 + [False] * 5
    conflicts.learn(batch(20), judge(batch(20), batch(25)))
    assert way(conflicts) is Way.ALL, "what conflicts was not suspected"
    conflicts.learn(batch(20), judge(batch(20), batch(20)))
    assert way(conflicts) is Way.SUSPECTS, "all that conflicted would have been suspected"
    for turn in range(8):
        assert way(conflicts) is Way.SUSPECTS
        fresh = batch(30 + turn * 10)
        conflicts.learn(fresh, judge(fresh, empty()))
    assert way(conflicts) is Way.COPY


def test_a_tag_number_of_any_size() -> None:
    conflicts = Conflicts()
    odd = pack(NOW, 1.0, [-5, 3, 2**31 - 1], Quality.GOOD)
    conflicts.learn(odd, None)
    assert conflicts.suspects(odd).tolist() == [False, True, True]


def test_the_sink_goes_each_way_and_counts_the_same(database_settings: Settings, db: PgConnection) -> None:
    sink = WarmSink(database_settings, uuid4(), WallClock())
    earlier = WarmSink(database_settings, uuid4(), WallClock())
    assert earlier.commit([frame(1, batch(0, 60))]).stored == 60
    seq, ways, repeated = 0, [], 0
    for first in range(30, 200, 10):
        seq += 1
        done = sink.commit([frame(seq, batch(first))])
        assert done.stored + done.repeated == 10
        repeated += done.repeated
        ways.append(sink._conflicts.way)
    assert repeated == 30
    assert ways[:3] == [Way.ALL] * 3
    assert ways[3:11] == [Way.SUSPECTS] * 7 + [Way.COPY]
    # Its own readings again, in the middle of new ones: the suspects are enough, the rest is not looked up.
    sink._conflicts.way = Way.SUSPECTS
    done = sink.commit([frame(seq + 1, np.concatenate([batch(190), batch(200), batch(200, 2)]))])
    assert (done.stored, done.repeated, sink._conflicts.way) == (10, 12, Way.SUSPECTS)
    # Another's readings, newer than what this sink wrote: found in the second attempt.
    earlier.commit([frame(2, batch(300))])
    done = sink.commit([frame(seq + 2, batch(295, 20))])
    assert (done.stored, done.repeated, sink._conflicts.way) == (10, 10, Way.ALL)
    assert db.execute("SELECT count(*), count(DISTINCT (tag_id, time)) FROM readings").fetchone() == (230, 230)
    sink.close()
    earlier.close()
