"""Ranges of days and tenants: what is due, what is skipped, and that one failure stops no other."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.archiving import DAY, add_day, make_day
from tests.hooked_store import HookedStore
from tests.seed import add_tags
from wellos.archive.archiving import archive_day
from wellos.archive.ranges import ArchiveFailuresError, archive_days, due, last_due_day
from wellos.archive.receipts import pending, receipts
from wellos.clock import ScaledClock, to_micros
from wellos.errors import ConfigurationError
from wellos.storage.cold import ColdRetryError
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

CLOCK = ScaledClock(
    to_micros(datetime(2026, 11, 5, 12, tzinfo=UTC)), to_micros(datetime.now(UTC) + timedelta(days=1)), 1e-6
)
"""Noon of the fourth day after `DAY`, for as long as a test takes."""


@pytest.fixture
def store(database_settings: Settings) -> Iterator[ColdStore]:
    found = open_cold(database_settings)
    yield found
    found.close()


def _asked(db: PgConnection, settings: Settings, store: ColdStore, **chosen: object) -> list[tuple[str, int, str]]:
    found = due(db, settings, store, CLOCK, **chosen)  # type: ignore[arg-type]
    return [(one.tenant, (one.day - DAY).days, one.reason) for one in found]


def test_what_is_due(db: PgConnection, database_settings: Settings, store: ColdStore) -> None:
    tags = add_tags(db, 1)
    add_tags(db, 1, "other")
    for days in (0, 1, 3):
        add_day(db, make_day(tags, 5, day=DAY + timedelta(days)), DAY + timedelta(days))
    assert last_due_day(database_settings, CLOCK) == DAY + timedelta(1)
    both = [("acme", 0, "new"), ("other", 0, "new"), ("acme", 1, "new"), ("other", 1, "new")]
    assert _asked(db, database_settings, store) == both
    assert _asked(db, database_settings, store, tenants=["other"], since=DAY + timedelta(1)) == both[3:]
    until = DAY + timedelta(3)
    assert _asked(db, database_settings, store, tenants=["acme"], until=until) == [*both[::2], ("acme", 3, "new")]
    named = _asked(db, database_settings, store, tenants=["acme"], since=DAY - timedelta(9), until=until)
    assert [day for _, day, _ in named] == [0, 1, 2, 3]


def test_gaps_are_the_empty_days_between_those_that_are_known(
    db: PgConnection, database_settings: Settings, store: ColdStore
) -> None:
    tags = add_tags(db, 1)
    for days in (-6, -3):
        add_day(db, make_day(tags, 5, day=DAY + timedelta(days)), DAY + timedelta(days))

    def gaps(since: int) -> list[int]:
        found = pending(db, store.name, DAY, since=DAY + timedelta(since), gaps=True)
        return [(one.day - DAY).days for one in found]

    assert gaps(-90) == [-6, -5, -4, -3]
    assert gaps(-5) == [-3]
    archive_day(database_settings, store, "acme", DAY, clock=CLOCK)
    assert gaps(-90) == [-6, -5, -4, -3, -2, -1]
    assert gaps(-4) == [-3, -2, -1]


def test_those_that_fail_do_not_count(db: PgConnection, database_settings: Settings, store: ColdStore) -> None:
    tags = add_tags(db, 1)
    for days in (0, 1):
        add_day(db, make_day(tags, 5, day=DAY + timedelta(days)), DAY + timedelta(days))
    asked = due(db, database_settings, store, CLOCK)
    stranger = replace(asked[0], tenant="nobody")
    with pytest.raises(ArchiveFailuresError) as caught:
        archive_days(database_settings, store, [stranger, *asked], clock=CLOCK, most=1)
    assert [one.tenant for one in caught.value.summary.failures] == ["nobody"]
    assert [one.receipt.day for one in caught.value.summary.done] == [DAY]


def test_what_is_proven_is_skipped_and_what_changed_is_not(
    db: PgConnection, database_settings: Settings, store: ColdStore
) -> None:
    tags = add_tags(db, 1)
    for days in (0, 1):
        add_day(db, make_day(tags, 5, day=DAY + timedelta(days)), DAY + timedelta(days))
    asked = due(db, database_settings, store, CLOCK)
    seen: list[int] = []
    done = archive_days(
        database_settings, store, asked, clock=CLOCK, progress=lambda one: seen.append((one.day - DAY).days)
    )
    assert [one.outcome for one in done.done] == ["archived", "archived"]
    assert seen == [0, 1]
    assert _asked(db, database_settings, store) == []
    add_day(db, make_day(tags, 2, 2, DAY + timedelta(1)), DAY + timedelta(1))
    assert _asked(db, database_settings, store) == [("acme", 1, "changed")]
    assert len(_asked(db, database_settings, store, force=True)) == 2
    db.execute("UPDATE reading_days SET dropped_at = now()")
    assert _asked(db, database_settings, store, force=True) == []


def test_one_that_fails_stops_no_other(db: PgConnection, database_settings: Settings, store: ColdStore) -> None:
    tags = add_tags(db, 1)
    for days in (0, 1):
        add_day(db, make_day(tags, 5, day=DAY + timedelta(days)), DAY + timedelta(days))
    calls: list[None] = []

    def fail_first() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise ColdRetryError("down for a moment")

    asked = due(db, database_settings, store, CLOCK)
    with pytest.raises(ArchiveFailuresError, match=r"1 of 2 failed:\nacme 2026-11-01: down for a moment") as caught:
        archive_days(database_settings, HookedStore(store, {"write": fail_first}), asked, clock=CLOCK)
    assert [one.receipt.day for one in caught.value.summary.done] == [DAY + timedelta(1)]
    (again,) = due(db, database_settings, store, CLOCK)
    assert (again.day, again.failed) == (DAY, 1)
    archive_days(database_settings, store, [again], clock=CLOCK)
    assert [one.day for one in receipts(db, store.name)] == [DAY, DAY + timedelta(1)]


@pytest.mark.parametrize(
    ("since", "until", "field"),
    [(None, 4, "--to"), (None, 5, "--to"), (3, 1, "--from"), (2, None, "--from")],
)
def test_a_range_that_cannot_be_is_refused(
    db: PgConnection,
    database_settings: Settings,
    store: ColdStore,
    since: int | None,
    until: int | None,
    field: str,
) -> None:
    first, last = (None if days is None else DAY + timedelta(days) for days in (since, until))
    with pytest.raises(ConfigurationError) as caught:
        due(db, database_settings, store, CLOCK, since=first, until=last)
    assert [problem.field for problem in caught.value.problems] == [field]
