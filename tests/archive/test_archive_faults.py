"""Archiving that is killed, fails or is lied to: nothing is in force that is not proven, and the next run completes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.archiving import DAY, add_day, cold_day, equal, make_day, warm_day
from tests.hooked_store import POINTS, HookedStore
from tests.seed import add_tags
from wellos.archive.archiving import ArchiveMismatchError, archive_day
from wellos.archive.receipts import receipt_in_force
from wellos.storage.cold import Checksum, ColdRetryError, Copy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

ROOT = Path(__file__).parents[2]


def _attempts(db: PgConnection) -> list[tuple[str, str]]:
    return [(row[0], row[1]) for row in db.execute("SELECT state, detail FROM archive_manifest ORDER BY receipt_id")]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("archive_settings", "point"),
    [*(("parquet", point) for point in POINTS), ("bigquery", "piece"), ("bigquery", "written")],
    indirect=["archive_settings"],
)
def test_killed_it_resumes_and_nothing_unproven_is_in_force(
    db: PgConnection, archive_settings: Settings, database_url: str, cold: ColdStore, point: str
) -> None:
    tags = add_tags(db, 2)
    add_day(db, make_day(tags, 100))
    archive_day(archive_settings, cold, "acme", DAY)
    add_day(db, make_day(tags, 10, 2))
    stored = warm_day(db, tags)
    environment = os.environ | {
        "WELLOS_DATABASE_URL": database_url,
        "WELLOS_DATA_DIR": str(archive_settings.data_dir),
        "WELLOS_BIGQUERY_PROJECT": archive_settings.bigquery_project or "",
        "WELLOS_BIGQUERY_ENDPOINT": archive_settings.bigquery_endpoint or "",
    }
    command = [sys.executable, "-m", "tests.hooked_store", "acme", str(DAY), point]
    died = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert [state for state, _ in _attempts(db)] == ["replaced", "writing"]
    assert receipt_in_force(db, cold.name, "acme", DAY) is None
    done = archive_day(archive_settings, cold, "acme", DAY)
    assert done.outcome == "archived"
    assert equal(cold_day(cold), stored)
    assert _attempts(db)[1:] == [("abandoned", "cut off"), ("verified", "")]


@pytest.mark.parametrize("point", POINTS)
def test_a_store_that_fails_leaves_the_reason_and_no_receipt(
    db: PgConnection, archive_settings: Settings, cold: ColdStore, point: str
) -> None:
    stored = add_day(db, make_day(add_tags(db, 1), 20))

    def fail() -> None:
        raise ColdRetryError("the store is down")

    with pytest.raises(ColdRetryError):
        archive_day(archive_settings, HookedStore(cold, {point: fail}), "acme", DAY)
    assert _attempts(db) == [("abandoned", "ColdRetryError: the store is down")]
    archive_day(archive_settings, cold, "acme", DAY)
    assert equal(cold_day(cold), stored)


class _Lying(HookedStore):
    """A store that tells or keeps something else than it was given."""

    def __init__(
        self,
        store: ColdStore,
        told: Callable[[Checksum], Checksum] = lambda found: found,
        kept: Callable[[Readings], Readings] = lambda piece: piece,
        wrote: int = 0,
    ) -> None:
        super().__init__(store, {})
        self._told, self._kept, self._wrote = told, kept, wrote

    def write(self, tenant: str, day: date, pieces: Iterable[Readings], key: str) -> Copy:
        copy = self.store.write(tenant, day, map(self._kept, pieces), key)
        return Copy(copy.location, copy.rows + self._wrote, copy.bytes, copy.file_sha256, copy.job_id)

    def checksum(self, tenant: str, day: date) -> Checksum:
        return self._told(self.store.checksum(tenant, day))


def _one_bit(piece: Readings) -> Readings:
    changed = piece.copy()
    changed["status"][3] ^= 1
    return changed


_LIES = {
    "a bit flipped": {"kept": _one_bit},
    "a row lost": {"kept": lambda piece: piece[1:]},
    "a wrong count": {"told": lambda found: Checksum(found.rows + 1, found.a, found.b)},
    "a wrong sum": {"told": lambda found: Checksum(found.rows, found.a, found.b ^ 1)},
    "a wrong number written": {"wrote": 1},
}


@pytest.mark.fault
@pytest.mark.parametrize(
    ("archive_settings", "lie"),
    [*(("parquet", lie) for lie in _LIES), ("bigquery", "a row lost")],
    indirect=["archive_settings"],
)
def test_a_copy_that_differs_is_put_aside(
    db: PgConnection, archive_settings: Settings, cold: ColdStore, lie: str
) -> None:
    stored = add_day(db, make_day(add_tags(db, 1), 20))
    store = _Lying(cold, **_LIES[lie])  # type: ignore[arg-type]
    with pytest.raises(ArchiveMismatchError, match=r"acme 2026-11-01: the copy differs: the database 20 rows"):
        archive_day(archive_settings, store, "acme", DAY)
    ((state, detail),) = _attempts(db)
    assert state == "quarantined"
    assert "the copy differs" in detail
    assert db.execute("SELECT count(*) FROM readings").fetchone() == (20,)
    assert [one for one in cold.inventory("acme") if one.day == DAY] == []
    archive_day(archive_settings, cold, "acme", DAY)
    assert equal(cold_day(cold), stored)


def test_a_copy_damaged_before_it_is_added_up_is_put_aside(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    add_day(db, make_day(add_tags(db, 1), 200))

    def damage() -> None:
        (path,) = (archive_settings.data_dir / "cold").rglob("*.parquet")
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 0x10
        path.write_bytes(content)

    with pytest.raises(ArchiveMismatchError, match="put aside"):
        archive_day(archive_settings, HookedStore(cold, {"checksum": damage}), "acme", DAY)
    assert receipt_in_force(db, cold.name, "acme", DAY) is None


def test_a_link_that_breaks_leaves_nothing_in_force(
    db: PgConnection, archive_settings: Settings, cold: ColdStore
) -> None:
    stored = add_day(db, make_day(add_tags(db, 1), 20))
    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> "

    def cut() -> None:
        db.execute(others + "pg_backend_pid() AND backend_type = 'client backend'")

    with pytest.raises(psycopg.OperationalError):
        archive_day(archive_settings, HookedStore(cold, {"written": cut}), "acme", DAY)
    assert receipt_in_force(db, cold.name, "acme", DAY) is None
    assert archive_day(archive_settings, cold, "acme", DAY).receipt.rows == len(stored)
