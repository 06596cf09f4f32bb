"""Days that left the warm tier and come back: proven, merged with what came since, and all or nothing."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.tiering import DAY, NOW, same
from wellos.archive.restoring import RestoreRefusedError, examine, restore_day

if TYPE_CHECKING:
    from tests.tiering import Platform

KEEP = timedelta(days=1)


def test_a_restored_day_is_as_it_was(platform: Platform) -> None:
    before = platform.aggregates()
    platform.leave()
    assert examine(platform.db, platform.store, DAY) == (2, len(platform.of()))
    done = restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert (done.rows, done.tenants, done.overlay) == (len(platform.of()), 2, 0)
    assert platform.dropped() == []
    assert same(platform.warm(), platform.truth)
    assert platform.aggregates() == before
    assert platform.problems() == []
    kept = platform.db.execute("SELECT restored_at, keep_until FROM reading_days WHERE day = %s", (DAY,)).fetchone()
    assert kept == (NOW, NOW + KEEP)


def test_what_came_since_is_merged(platform: Platform) -> None:
    platform.leave()
    value = float(platform.of()["value"][0])
    quality = int(platform.of()["quality"][0])
    status = 7
    assert status == platform.of()["status"][0]
    platform.late(0, value, quality)  # the same again
    platform.late(20, 1.0, 2)  # as good or better: it stays
    platform.late(40, 1.0, 0)  # BAD against something better or as bad
    platform.late(30, 3.0)  # new
    platform.late(31, 4.0, tag=2)
    assert platform.problems() == []
    done = restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert done.overlay == 5
    assert done.repeated == 1
    assert done.repeated + done.replaced + done.superseded == 3
    assert same(platform.warm(), platform.truth)
    assert platform.problems() == []


def test_a_day_that_was_not_dropped_stays(platform: Platform) -> None:
    with pytest.raises(RestoreRefusedError, match="it was not dropped"):
        restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    with pytest.raises(RestoreRefusedError, match="it was not dropped"):
        restore_day(platform.db, platform.store, date(2020, 1, 1), NOW, KEEP)
