"""Days past retention: which they are, and that one which stays or fails keeps no other from leaving."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.tiering import DAY, NOW
from wellos.tiers.leaving import drop_due_days, past_retention, rearchive_late_days

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path

    from tests.tiering import Platform

NEXT, LAST = DAY + timedelta(1), DAY + timedelta(2)


def dropped(platform: Platform, most: int) -> list[tuple[date, str]]:
    found = drop_due_days(platform.db, platform.store, platform.settings, platform.clock, most=most)
    return [(one.day, one.outcome) for one in found]


def copy(platform: Platform, day: date, tenant: str = "acme") -> Path:
    (path,) = (platform.settings.data_dir / "cold").glob(f"tenant={tenant}/day={day}/*.parquet")
    return path


def damage(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)


def test_watched_days_without_readings_are_not_waited_for(platform: Platform) -> None:
    """A new installation has every day of the warm tier's age watched, whether it holds data or not."""
    platform.db.execute("CALL watch_days(%s::date[])", ([DAY - timedelta(back) for back in range(1, 70)],))
    for day in (DAY, NEXT):
        platform.archive(day)
    assert past_retention(platform.db, platform.store.name, platform.settings, NOW) == [DAY, NEXT, LAST]
    assert dropped(platform, 1) == [(DAY, "dropped")]
    assert dropped(platform, 1) == [(NEXT, "dropped")]
    assert dropped(platform, 1) == [(LAST, "kept")]


def test_an_empty_day_leaves_once_it_is_archived(platform: Platform) -> None:
    empty = DAY - timedelta(5)
    platform.archive(empty)
    assert dropped(platform, 1) == [(empty, "dropped")]


def test_days_that_stay_do_not_count(platform: Platform) -> None:
    platform.archive(NEXT)
    assert dropped(platform, 1) == [(DAY, "kept"), (NEXT, "dropped")]


def test_a_dropped_day_whose_copy_is_damaged_keeps_no_other_from_being_archived_anew(platform: Platform) -> None:
    for day in (DAY, NEXT):
        platform.leave(day)
    for day in (DAY, NEXT):
        platform.late(1, day=day)
    damage(copy(platform, DAY))
    first, second = rearchive_late_days(platform.settings, platform.store, platform.clock, most=1)
    assert (first.day, first.outcome, second.day) == (DAY, "failed", NEXT)
    assert "damaged" in first.reason
    if second.outcome == "kept":  # the overlay of the day before is in the log of changes next to its own
        assert "CALL refresh_aggregates()" in second.reason
        platform.refresh()
        first, second = rearchive_late_days(platform.settings, platform.store, platform.clock, most=1)
    assert (first.day, first.outcome, second.day, second.outcome) == (DAY, "failed", NEXT, "dropped")
    assert platform.dropped() == [DAY, NEXT]


@pytest.mark.parametrize("most", [0, 1])
def test_no_more_leave_than_asked_for(platform: Platform, most: int) -> None:
    for day in (DAY, NEXT):
        platform.archive(day)
    assert len(dropped(platform, most)) == most
