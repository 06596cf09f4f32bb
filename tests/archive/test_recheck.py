"""Copies proven once more: a damaged one is found, archived anew where it can be, and named where it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.archiving import DAY, add_day, cold_day, equal, make_day
from tests.hooked_store import HookedStore
from tests.seed import add_tags
from wellos.archive.archiving import archive_day
from wellos.archive.receipts import receipt_in_force, suspects
from wellos.archive.recheck import RecheckError, recheck
from wellos.storage.cold import ColdRetryError
from wellos.storage.cold.opening import open_cold

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection


@pytest.fixture
def store(database_settings: Settings) -> Iterator[ColdStore]:
    found = open_cold(database_settings)
    yield found
    found.close()


@pytest.fixture
def archived(db: PgConnection, database_settings: Settings, store: ColdStore) -> Readings:
    """Readings of a day that was archived."""
    readings = add_day(db, make_day(add_tags(db, 2), 100))
    archive_day(database_settings, store, "acme", DAY)
    return readings


def _file(settings: Settings) -> Path:
    (path,) = (settings.data_dir / "cold").glob("tenant=*/day=*/*.parquet")
    return path


def _damage(path: Path) -> bytes:
    content = path.read_bytes()
    changed = bytearray(content)
    changed[len(changed) // 2] ^= 0x10
    path.write_bytes(changed)
    return content


def _drop(db: PgConnection) -> None:
    db.execute("DELETE FROM readings")
    db.execute("UPDATE reading_days SET dropped_at = now()")


@pytest.mark.usefixtures("archived")
def test_a_copy_that_is_what_was_proven(database_settings: Settings, store: ColdStore) -> None:
    seen: list[int] = []
    (checked,) = recheck(database_settings, store, progress=lambda total, _: seen.append(total))
    assert (checked.tenant, checked.day, checked.outcome, checked.detail) == ("acme", DAY, "equal", "")
    assert seen == [1]


@pytest.mark.fault
@pytest.mark.parametrize("fault", ["damaged", "missing", "other rows"])
def test_one_that_is_not_is_archived_anew(
    db: PgConnection, database_settings: Settings, store: ColdStore, archived: Readings, fault: str
) -> None:
    if fault == "damaged":
        _damage(_file(database_settings))
    elif fault == "missing":
        _file(database_settings).unlink()
    else:
        store.write("acme", DAY, [archived[:-1]], "by somebody else")
    (checked,) = recheck(database_settings, store)
    assert checked.outcome == "repaired"
    assert "part-0.parquet" in checked.detail
    assert equal(cold_day(store), archived)
    states = [row[0] for row in db.execute("SELECT state FROM archive_manifest ORDER BY receipt_id")]
    assert states == ["quarantined", "verified"]
    (checked,) = recheck(database_settings, store)
    assert checked.outcome == "equal"


@pytest.mark.fault
@pytest.mark.usefixtures("archived")
def test_one_of_a_dropped_day_is_named_and_recovers_when_it_is_put_back(
    db: PgConnection, database_settings: Settings, store: ColdStore
) -> None:
    _drop(db)
    path = _file(database_settings)
    content = _damage(path)
    named = r"acme 2026-11-01: tenant=acme/day=2026-11-01/part-0\.parquet .*wellos restore.*backup.*--verify"
    for _ in range(2):
        with pytest.raises(RecheckError, match=named):
            recheck(database_settings, store)
        assert path.exists()
        assert receipt_in_force(db, store.name, "acme", DAY) is None
        assert [one.day for one in suspects(db, store.name)] == [DAY]
    path.write_bytes(content)
    (checked,) = recheck(database_settings, store)
    assert checked.outcome == "recovered"
    assert receipt_in_force(db, store.name, "acme", DAY) is not None
    assert suspects(db, store.name) == []


def test_one_replaced_meanwhile_is_no_fault(
    db: PgConnection, database_settings: Settings, store: ColdStore, archived: Readings
) -> None:
    def archive_anew() -> None:
        add_day(db, make_day([int(archived["tag_id"][0])], 5, 3))
        archive_day(database_settings, store, "acme", DAY)

    once = {"checksum": archive_anew}
    (checked,) = recheck(database_settings, HookedStore(store, once))
    assert checked.outcome == "replaced"
    (checked,) = recheck(database_settings, store)
    assert checked.outcome == "equal"


@pytest.mark.usefixtures("archived")
def test_a_store_that_does_not_answer_condemns_nothing(
    db: PgConnection, database_settings: Settings, store: ColdStore
) -> None:
    def fail() -> None:
        raise ColdRetryError("the store is down")

    with pytest.raises(RecheckError, match="acme 2026-11-01: the store is down"):
        recheck(database_settings, HookedStore(store, {"checksum": fail}))
    assert receipt_in_force(db, store.name, "acme", DAY) is not None
