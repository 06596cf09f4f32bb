"""Days that left the warm tier and come back: proven, merged with what came since, and all or nothing."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.tiering import DAY, NOW, day_of, same
from wellos.aggregates import days_with_readings
from wellos.archive.restoring import RestoreRefusedError, examine, restore_day
from wellos.readings import pack
from wellos.storage.cold import DamagedCopyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.tiering import Platform
    from wellos.readings import Readings

KEEP = timedelta(days=1)
_RESTORE = "restoring.restore_day(conn, store, DAY, NOW, timedelta(1))"


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
    with pytest.raises(RestoreRefusedError, match="2020-01-01 is not restored: nothing is known of it"):
        restore_day(platform.db, platform.store, date(2020, 1, 1), NOW, KEEP)


def test_a_damaged_copy_changes_nothing(platform: Platform) -> None:
    platform.leave()
    before = platform.aggregates()
    held = [*platform.store.read_day("other", DAY)]
    held[0] = held[0].copy()
    held[0]["value"][3] += 1
    platform.store.write("other", DAY, held, "another")
    for attempt in (
        lambda: restore_day(platform.db, platform.store, DAY, NOW, KEEP),
        lambda: examine(platform.db, platform.store, DAY),
    ):
        with pytest.raises(DamagedCopyError, match="the copy of tenant other in parquet is not what was proven"):
            attempt()
    path = next((platform.settings.data_dir / "cold").rglob("*acme*/**/*.parquet"))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DamagedCopyError):
        restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert platform.dropped() == [DAY]
    assert len(platform.warm(DAY)) == 0
    assert platform.aggregates() == before
    assert platform.problems() == []


def test_a_copy_that_is_no_longer_proven_is_not_left_out(platform: Platform) -> None:
    platform.leave()
    platform.db.execute(
        "UPDATE archive_manifest SET state = 'quarantined', detail = 'is damaged' "
        "WHERE tenant_id = (SELECT tenant_id FROM tenants WHERE slug = 'other')"
    )
    with pytest.raises(RestoreRefusedError, match=r"of tenant other is quarantined \(is damaged\)"):
        restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert any(problem.startswith("other: ") for problem in platform.problems())  # its readings are nowhere now


def test_a_copy_in_another_store_is_named(platform: Platform) -> None:
    platform.leave()
    platform.db.execute("UPDATE archive_manifest SET store = 'bigquery'")
    with pytest.raises(RestoreRefusedError, match="the copy of tenant acme is in bigquery, not in parquet"):
        restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert platform.dropped() == [DAY]


def test_killed_in_the_middle_of_a_restore_nothing_has_changed(platform: Platform) -> None:
    platform.leave()
    platform.late(0, 3.0)
    platform.late(1)
    before = platform.aggregates()
    overlay = platform.warm(DAY)
    platform.killed_at("SET dropped_at = NULL", _RESTORE)
    assert platform.dropped() == [DAY]
    assert same(platform.warm(DAY), overlay)
    assert platform.aggregates() == before
    assert platform.problems() == []
    restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert same(platform.warm(), platform.truth)
    assert platform.problems() == []


def test_killed_after_it_the_aggregates_are_refreshed_as_ever(platform: Platform) -> None:
    platform.leave()
    platform.late(1, 9.0)
    platform.killed_at("SELECT relation FROM aggregate_levels", _RESTORE)
    assert platform.dropped() == []
    assert same(platform.warm(), platform.truth)
    platform.refresh()
    count = "SELECT sum(n) FROM readings_1day WHERE bucket = %s"
    assert platform.db.execute(count, (f"{DAY} 00:00+00",)).fetchone() == (len(platform.of()),)


def test_readings_that_come_for_the_day_meanwhile_are_not_lost(platform: Platform) -> None:
    """A key that comes back, and a new one, by a writer beside the restore."""
    platform.leave()
    store = _Slow(platform)
    done = restore_day(platform.db, store, DAY, NOW, KEEP)  # type: ignore[arg-type] # reads on behalf of the store
    assert store.reads > 2  # somebody wrote a key that came back: it was tried again
    assert same(platform.warm(), platform.truth)
    assert (done.overlay, done.repeated + done.replaced + done.superseded) == (1, 1)
    assert platform.problems() == []


class _Slow:
    """The platform's store, beside whose first reads a writer stores late readings."""

    name = "parquet"

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.reads = 0

    def ready(self, *, writing: bool) -> None:
        """As the platform's."""
        self._platform.store.ready(writing=writing)

    def read_day(self, tenant: str, day: date) -> Iterator[Readings]:
        """Yield the day; at first a reading of a key of its comes before it, the next time a new one in the midst."""
        self.reads += 1
        if self.reads == 1:
            self._platform.late(0, 4.0)
        for number, piece in enumerate(self._platform.store.read_day(tenant, day)):
            yield piece
            if number == 0 and self.reads == 2:
                self._platform.late(41, 6.0)


def test_days_that_are_dropped_hold_no_readings_to_work_on(platform: Platform) -> None:
    asked = [DAY, DAY + timedelta(days=1)]
    assert days_with_readings(platform.db, asked) == asked
    platform.leave()
    platform.late(1)
    assert days_with_readings(platform.db, asked) == asked[1:]
    restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert days_with_readings(platform.db, asked) == asked


def test_whatever_came_since_the_truth_comes_back(platform: Platform) -> None:
    """Hundreds of late readings, on keys that the copy has and on others, again and again, of every quality."""
    platform.leave()
    rng = np.random.default_rng(11)
    for _ in range(4):
        count = 150
        times = day_of(DAY) + rng.integers(0, 144, count) * 600_000_000
        tags = rng.choice(platform.tags[:2], count)
        platform.write(pack(times, rng.integers(0, 4, count).astype(float), tags, rng.integers(0, 3, count), 7))
    platform.refresh()
    assert platform.problems() == []
    done = restore_day(platform.db, platform.store, DAY, NOW, KEEP)
    assert done.replaced > 10
    assert done.superseded > 10
    assert same(platform.warm(), platform.truth)
    assert platform.problems() == []
    stored = platform.db.execute("SELECT sum(n) FROM readings_1day").fetchone()
    assert stored == (len(platform.truth),)
