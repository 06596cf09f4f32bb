"""An archive that is not there is refused by everything, and neither made anew nor taken for damaged."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.archiving import DAY, add_day, make_day
from tests.seed import add_tags
from wellos.archive.archiving import archive_day
from wellos.archive.dropping import drop_day
from wellos.archive.ranges import archive_days
from wellos.archive.receipts import Pending
from wellos.archive.recheck import recheck
from wellos.archive.restoring import restore_day
from wellos.errors import ConfigurationError
from wellos.health import parts
from wellos.settings import load_settings
from wellos.storage.cold import DamagedCopyError, NotTheArchiveError
from wellos.storage.cold.opening import open_cold
from wellos.storage.cold.parquet_marker import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

NOW = datetime(2026, 11, 20, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, data_dir=tmp_path, raw_days=2)


@pytest.fixture
def folder(db: PgConnection, settings: Settings, tmp_path: Path) -> Path:
    """An archive of one day."""
    (tag,) = add_tags(db)
    add_day(db, make_day([tag], 5, 1))
    store = open_cold(settings)
    assert list(tmp_path.glob("cold*")) == [], "opening makes nothing"
    archive_day(settings, store, "acme", DAY)
    return tmp_path / "cold"


def uses(settings: Settings, store: ColdStore, db: PgConnection) -> dict[str, Callable[[], object]]:
    waiting = Pending("acme", NEXT, None, None, None, 0)
    return {
        "verify": lambda: recheck(settings, store),
        "archive": lambda: archive_day(settings, store, "acme", NEXT),
        "archive by night": lambda: archive_days(settings, store, [waiting]),
        "archive again": lambda: archive_day(settings, store, "acme", DAY, force=True),
        "drop": lambda: drop_day(db, store, DAY, NOW, settings),
        "write": lambda: store.write("acme", NEXT, [], "k"),
        "checksum": lambda: store.checksum("acme", DAY),
        "read": lambda: store.read("acme", [1], 0, 1, [DAY]),
        "read a day": lambda: list(store.read_day("acme", DAY)),
        "quarantine": lambda: store.quarantine("acme", DAY),
        "inventory": lambda: store.inventory("acme"),
    }


def books(db: PgConnection) -> list[object]:
    asked = ("archive_manifest", "cold_stores")
    return [db.execute(f"SELECT t::text FROM {table} AS t ORDER BY 1").fetchall() for table in asked]


def test_a_folder_that_is_not_mounted_is_refused_by_everything(
    db: PgConnection, settings: Settings, folder: Path
) -> None:
    opened, before = open_cold(settings), books(db)
    opened.checksum("acme", DAY)
    away = folder.rename(folder.with_name("unmounted"))
    for mount_point in (False, True):
        if mount_point:
            folder.mkdir()
        for store in (opened, open_cold(settings)):
            for name, use in uses(settings, store, db).items():
                with pytest.raises(NotTheArchiveError, match=r"cold is not the archive.*WELLOS_COLD_DIR") as refusal:
                    use()
                assert not isinstance(refusal.value, DamagedCopyError), name
        found = parts.ask("cold store", settings)
        assert (found.state, "is not the archive" in found.detail) == ("down", True)
        assert books(db) == before
        assert folder.exists() == mount_point
        assert not mount_point or not list(folder.iterdir())
    folder.rmdir()
    away.rename(folder)
    assert [one.outcome for one in recheck(settings, opened)] == ["equal"]
    assert parts.ask("cold store", settings).state == "up"


def test_a_dropped_day_is_not_restored_from_a_folder_that_is_not_there(
    db: PgConnection, settings: Settings, folder: Path
) -> None:
    db.execute("UPDATE reading_days SET dropped_at = now() WHERE day = %s", (DAY,))
    folder.rename(folder.with_name("unmounted"))
    store, before = open_cold(settings), books(db)
    with pytest.raises(NotTheArchiveError):
        restore_day(db, store, DAY, NOW, timedelta(0))
    with pytest.raises(NotTheArchiveError):
        recheck(settings, store)
    assert books(db) == before


def test_the_archive_of_another_database_is_refused(db: PgConnection, settings: Settings, folder: Path) -> None:
    marker = folder / MARKER
    ours = marker.read_text()
    marker.write_text("8d2f2f6c-0000-4000-8000-000000000000\n")
    for use in uses(settings, open_cold(settings), db).values():
        with pytest.raises(NotTheArchiveError, match=f"another database.*WELLOS_COLD_DIR.*{ours.strip()}"):
            use()
    assert "another database" in parts.ask("cold store", settings).detail
    marker.write_text(ours)
    db.execute("DELETE FROM archive_manifest")
    db.execute("DELETE FROM cold_stores")
    with pytest.raises(NotTheArchiveError, match="this one has none"):
        open_cold(settings).write("acme", NEXT, [], "k")
    assert marker.read_text() == ours


def test_a_first_archive_that_was_cut_off_before_its_marker_begins_again(db: PgConnection, settings: Settings) -> None:
    db.execute("INSERT INTO cold_stores (store) VALUES ('parquet')")
    known = db.execute("SELECT id::text FROM cold_stores").fetchone()
    store = open_cold(settings)
    assert store.inventory("acme") == []
    store.write("acme", DAY, [], "k")
    store.write("acme", DAY, [], "k")
    assert ((settings.data_dir / "cold" / MARKER).read_text().strip(),) == known


def test_a_file_that_is_gone_is_damage_still(settings: Settings, folder: Path) -> None:
    shutil.rmtree(folder / "tenant=acme")
    with pytest.raises(DamagedCopyError):
        open_cold(settings).checksum("acme", DAY)
    assert [one.outcome for one in recheck(settings, open_cold(settings))] == ["repaired"]


def test_an_archive_that_may_only_be_read_is_read(settings: Settings, folder: Path) -> None:
    """As an analyst's mount; root may write anywhere, so nothing but the asking can be seen."""
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    before = sorted(folder.rglob("*"))
    store = open_cold(settings)
    assert store.checksum("acme", DAY).rows > 0
    if os.geteuid():
        with pytest.raises(ConfigurationError, match="may not be written"):
            store.ready(writing=True)
    assert sorted(folder.rglob("*")) == before
    for place in (folder, *folder.rglob("*")):
        place.chmod(0o755)


@pytest.mark.usefixtures("folder")
def test_without_its_database_health_cannot_tell_whose_the_folder_is(settings: Settings) -> None:
    gone = load_settings(database_url="postgresql://nobody@127.0.0.1:1/none", data_dir=settings.data_dir)
    found = parts.ask("cold store", gone)
    assert (found.state, "the database alone" in found.detail) == ("warning", True)


def test_a_bigquery_project_without_the_dataset_of_the_receipts_is_refused(
    db: PgConnection, settings: Settings, bigquery_settings: Settings
) -> None:
    right = bigquery_settings.model_copy(update=settings.model_dump(include={"database_url", "data_dir"}))
    (tag,) = add_tags(db)
    add_day(db, make_day([tag], 5, 1))
    with closing(open_cold(right)) as store:
        archive_day(right, store, "acme", DAY)
    wrong = right.model_copy(update={"bigquery_project": "another-project"})
    before = books(db)
    with closing(open_cold(wrong)) as store:
        use = uses(wrong, store, db)
        for name in ("verify", "archive", "archive by night", "drop", "write", "checksum", "read", "read a day"):
            with pytest.raises(NotTheArchiveError, match="WELLOS_BIGQUERY_PROJECT"):
                use[name]()
        with pytest.raises(NotTheArchiveError, match=r"no dataset another-project\.wellos_acme"):
            store.write("newcomer", DAY, [], "k")
    assert parts.ask("cold store", wrong).state == "down"
    assert parts.ask("cold store", right).state == "up"
    assert books(db) == before
