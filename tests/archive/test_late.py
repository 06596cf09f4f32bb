"""Late readings of dropped days: an overlay, then archived anew with the whole day, at whatever step it stopped."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.tiering import DAY, NOW, same
from wellos.archive.archiving import DroppedDayError, archive_day
from wellos.archive.dropping import DropRefusedError
from wellos.archive.late import overlay_days, rearchive
from wellos.archive.restoring import restore_day

if TYPE_CHECKING:
    from datetime import date

    from tests.tiering import Platform


def _rearchive(platform: Platform) -> None:
    rearchive(platform.settings, platform.store, DAY, clock=platform.clock)


def _cold(platform: Platform, day: date = DAY) -> int:
    return sum(len(piece) for tenant in ("acme", "other") for piece in platform.store.read_day(tenant, day))


def test_a_day_with_late_readings_is_archived_anew(platform: Platform) -> None:
    platform.leave()
    before = platform.aggregates()
    platform.late(0, 3.0, 2)
    platform.late(1)
    platform.late(2, tag=2)
    assert overlay_days(platform.db) == [DAY]
    with pytest.raises(DroppedDayError):  # the overlay alone never replaces the copy
        platform.archive()
    assert platform.aggregates() == before
    _rearchive(platform)
    assert platform.dropped() == [DAY]
    assert overlay_days(platform.db) == []
    assert len(platform.warm(DAY)) == 0
    assert _cold(platform) == len(platform.of())
    assert platform.problems() == []
    (late,) = platform.db.execute(
        "SELECT sum(n) FROM readings_1day WHERE bucket = %s", (f"{DAY} 00:00+00",)
    ).fetchone() or (0,)
    assert late == len(platform.of())
    restore_day(platform.db, platform.store, DAY, NOW, timedelta(0))
    assert same(platform.warm(), platform.truth)


def test_nothing_is_begun_that_could_not_be_ended(platform: Platform) -> None:
    platform.leave()
    platform.late(1)
    platform.db.execute(
        "INSERT INTO ingest_instances (spool_id, hostname, pid, started_at, heartbeat_at) "
        "VALUES (gen_random_uuid(), 'rig', 7, %(now)s, %(now)s)",
        {"now": NOW - timedelta(hours=1)},
    )
    with pytest.raises(DropRefusedError, match="has been silent"):
        _rearchive(platform)
    assert platform.dropped() == [DAY]
    assert overlay_days(platform.db) == [DAY]


@pytest.mark.parametrize("step", ["restored", "refreshed", "archived once", "archived"])
def test_it_is_taken_up_where_it_stopped(platform: Platform, step: str) -> None:
    platform.leave()
    platform.late(1)
    restore_day(platform.db, platform.store, DAY, NOW, timedelta(0))
    if step == "restored":  # killed before the aggregates were refreshed
        platform.late(2)
    elif step == "archived once":
        archive_day(platform.settings, platform.store, "acme", DAY, clock=platform.clock)
    elif step == "archived":
        platform.archive()
    assert overlay_days(platform.db) == [DAY]
    _rearchive(platform)
    assert platform.dropped() == [DAY]
    assert overlay_days(platform.db) == []
    assert _cold(platform) == len(platform.of())
    assert platform.problems() == []


def test_a_day_that_somebody_keeps_is_left_alone(platform: Platform) -> None:
    platform.leave()
    restore_day(platform.db, platform.store, DAY, NOW, timedelta(days=2))
    platform.late(1)
    assert overlay_days(platform.db) == []
    with pytest.raises(DropRefusedError, match="is kept until"):
        _rearchive(platform)
