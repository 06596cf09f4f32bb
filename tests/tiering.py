"""A truth of readings over some days and tenants, archived and dropped day by day, for the tests of tiering."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import numpy as np

from streaming.sinks.warm import WarmSink
from tests.seed import add_tags, at
from tests.waiting import eventually
from wellos.archive.archiving import archive_day
from wellos.archive.dropping import drop_day
from wellos.audit import audit
from wellos.clock import ScaledClock, to_micros
from wellos.readings import empty, pack
from wellos.spool_format import Frame, Header
from wellos.storage.copy import read_readings
from wellos.storage.merge import Outcome, judge

if TYPE_CHECKING:
    from wellos.archive.dropping import Dropped
    from wellos.readings import Readings
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["DAY", "NOW", "Platform", "day_of", "same"]

DAY = date(2026, 8, 1)
NOW = at("2026-11-21 00:00")
_EVERY_S = 1200
_THIS = "(SELECT oid FROM pg_database WHERE datname = current_database())"

_KILLED = """
import os, signal, psycopg
from datetime import timedelta
from tests.tiering import DAY, NOW
from wellos.archive import dropping, late, restoring
from wellos.settings import load_settings
from wellos.storage.cold.opening import open_cold
from wellos.storage.warm import connect

execute = psycopg.Cursor.execute

def killed(self, query, *rest, **more):
    found = execute(self, query, *rest, **more)
    if "{statement}" in str(query):
        os.kill(os.getpid(), signal.SIGKILL)
    return found

psycopg.Cursor.execute = killed
settings = load_settings()
store = open_cold(settings)
with connect(settings, autocommit=True) as conn:
    {call}
"""


@dataclass(slots=True)
class Platform:
    """A database with two tenants whose readings come through the sink of ingest, and what it must hold of them."""

    db: PgConnection
    settings: Settings
    store: ColdStore
    clock: ScaledClock = field(default_factory=lambda: ScaledClock(to_micros(NOW), to_micros(NOW), 1e-9))
    tags: list[int] = field(default_factory=list)
    truth: Readings = field(default_factory=empty)
    sent: int = 0
    spool_id: UUID = field(default_factory=uuid4)
    sink: WarmSink = field(init=False)

    def __post_init__(self) -> None:
        """Register the tenants and store some days of readings, with their aggregates."""
        self.tags = [*add_tags(self.db, 2), *add_tags(self.db, slug="other")]
        self.sink = WarmSink(self.settings, self.spool_id, self.clock)
        times = day_of(DAY) + np.arange(3 * 86_400 // _EVERY_S) * _EVERY_S * 1_000_000
        rng = np.random.default_rng(7)
        for tag in self.tags:
            self.write(
                pack(times, rng.integers(0, 90, len(times)).astype(float), tag, rng.integers(0, 3, len(times)), 7)
            )
        self.refresh()

    def write(self, readings: Readings) -> None:
        """Have ingest store readings, which changes the truth by the rule of the merge."""
        self.sent += 1
        connection = self.db.execute(
            "SELECT connection_id FROM tags WHERE tag_id = %s", (int(readings["tag_id"][0]),)
        ).fetchone()
        assert connection is not None
        rows = len(readings)
        received = to_micros(NOW) + self.sent
        header = Header(1, 0, 0, self.sent, connection[0], received, received, rows, 0, 0, 0, rows, 0)
        self.sink.commit([Frame(header, readings, b"")])
        judged = judge(readings, self.truth)
        kept = self.truth[~_among(self.truth, readings[judged.winner])]
        self.truth = _sorted(np.concatenate([kept, readings[judged.winner]]))

    def late(self, minute: int, value: float = 5.0, quality: int = 2, tag: int = 0, day: date = DAY) -> None:
        """Have a reading of a day come late."""
        self.write(pack([day_of(day) + minute * 60_000_000], value, self.tags[tag], quality, 7))

    def refresh(self) -> None:
        """Make every aggregate right."""
        self.db.execute("CALL refresh_aggregates()")

    def archive(self, day: date = DAY) -> None:
        """Archive the day of both tenants."""
        for tenant in ("acme", "other"):
            archive_day(self.settings, self.store, tenant, day, clock=self.clock)

    def drop(self, day: date = DAY) -> Dropped:
        """Drop a day."""
        return drop_day(self.db, self.store, day, NOW, self.settings)

    def leave(self, day: date = DAY) -> None:
        """Archive and drop a day."""
        self.archive(day)
        self.drop(day)

    def warm(self, day: date | None = None) -> Readings:
        """Return what the warm tier holds of a day, or of all."""
        since = day_of(day or DAY)
        return _sorted(read_readings(self.db, self.tags, since, since + (1 if day else 400) * 86_400_000_000))

    def of(self, day: date = DAY) -> Readings:
        """Return the truth of a day."""
        held: Readings = self.truth[self.truth["time"] // 86_400_000_000 == day_of(day) // 86_400_000_000]
        return held

    def dropped(self) -> list[date]:
        """Return the days that are dropped."""
        rows = self.db.execute("SELECT day FROM reading_days WHERE dropped_at IS NOT NULL ORDER BY 1")
        return [day for (day,) in rows]

    def aggregates(self) -> list[tuple[object, ...]]:
        """Return every bucket of minutes and days."""
        return [
            row
            for relation in ("readings_1min", "readings_1hour", "readings_1day")
            for row in self.db.execute(f"SELECT '{relation}', * FROM {relation} ORDER BY bucket, tag_id")
        ]

    def killed_at(self, statement: str, call: str) -> None:
        """Run a call in a process of its own that is killed right after it executed a statement."""
        assert self.settings.database_url is not None
        environment = os.environ | {
            "WELLOS_DATABASE_URL": self.settings.database_url.get_secret_value(),
            "WELLOS_DATA_DIR": str(self.settings.data_dir),
        }
        script = _KILLED.format(statement=statement, call=call)
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, cwd=Path(__file__).parents[1], check=False, timeout=60
        )
        assert done.returncode == -signal.SIGKILL
        held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = " + _THIS
        eventually(lambda: self.db.execute(held).fetchone() == (0,))

    def problems(self) -> list[str]:
        """Return what the audit finds."""
        return audit(self.db, None).problems


def day_of(day: date) -> int:
    """Return the first microsecond of a UTC day."""
    return to_micros(datetime(day.year, day.month, day.day, tzinfo=UTC))


def same(one: Readings, other: Readings) -> bool:
    """Whether two sets of readings are equal; both by tag and time."""
    if len(one) != len(other) or (one[["time", "tag_id"]] != other[["time", "tag_id"]]).any():
        return False
    outcome = judge(one, other).outcome
    return bool((outcome == Outcome.REPEATED).all())


def _among(some: Readings, others: Readings) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return judge(some, others).known


def _sorted(readings: Readings) -> Readings:
    return readings[np.lexsort((readings["time"], readings["tag_id"]))]
