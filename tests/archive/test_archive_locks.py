"""The locks of days: who shares, who waits, and that a dead session holds nothing."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.waiting import eventually
from wellos.archive.locks import DayBusyError, lock_copy, lock_day
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

DAY = date(2026, 11, 1)
TENANT, OTHER = UUID(int=1), UUID(int=2)


def test_archivers_share_a_day_and_a_drop_has_it_alone(db: PgConnection, database_settings: Settings) -> None:
    with connect(database_settings, autocommit=True) as second, lock_day(db, DAY, shared=True):
        with lock_day(second, DAY, shared=True):
            pass
        held = rf"2026-11-01: the day .* wellos, process {db.info.backend_pid}"
        with pytest.raises(DayBusyError, match=held), lock_day(second, DAY, shared=False, patience_s=0.01):
            pass
        with lock_day(second, date(1999, 1, 1), shared=False, patience_s=0):
            pass


def test_a_lock_is_let_go(db: PgConnection, database_settings: Settings) -> None:
    with connect(database_settings, autocommit=True) as second:
        with pytest.raises(ZeroDivisionError), lock_day(db, DAY, shared=False):
            raise ZeroDivisionError
        with lock_day(second, DAY, shared=False, patience_s=0):
            pass


def test_one_archiver_has_a_copy(db: PgConnection, database_settings: Settings) -> None:
    with connect(database_settings, autocommit=True) as second, lock_copy(db, TENANT, DAY, "parquet"):
        with pytest.raises(DayBusyError, match="this tenant's copy"), lock_copy(second, TENANT, DAY, "parquet"):
            pass
        with lock_copy(second, OTHER, DAY, "parquet"), lock_copy(second, TENANT, DAY, "bigquery"):
            pass
        with lock_day(second, DAY, shared=False, patience_s=0):
            pass


def test_a_session_that_ends_takes_its_locks_along(db: PgConnection, database_settings: Settings) -> None:
    with connect(database_settings, autocommit=True) as second, lock_day(second, DAY, shared=False):
        db.execute("SELECT pg_terminate_backend(%s)", (second.info.backend_pid,))

        def free() -> bool:
            try:
                with lock_day(db, DAY, shared=False, patience_s=0):
                    return True
            except DayBusyError:
                return False

        eventually(free)
        with pytest.raises(Exception, match=r"terminating|closed"):
            second.execute("SELECT 1")
