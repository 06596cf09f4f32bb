"""Tells Dagster, once per closed hour, which days were added to and what the checks say of now; never stops ingest.

The first report of an installation tells the days of history that hold something. One instance reports: the one that
holds an advisory lock for as long as it runs. How far it got is kept beside the spool.
"""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import structlog

from wellos.clock import from_micros, pace
from wellos.errors import WellosError
from wellos.files import replace_file
from wellos.storage import warm
from wellos.storage.sql import query
from wellos.verdicts import ingest_lag, newest_entry, newest_reading

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streaming.spool import Journal
    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection
    from wellos.verdicts import Verdict

__all__ = ["Reporter", "report"]

_LOOK_S, _REPORT_S = 5.0, 60.0
_HOUR = timedelta(hours=1)
_SOURCES = (("readings", "ingest_report_days"), ("field_entries", "ingest_report_entry_days"))
_LOCK = "SELECT pg_try_advisory_lock(hashtext('wellos ingest report'))"

log = structlog.get_logger(__name__)


class Reporter:
    """Blocking; called from one thread. Errors are httpx.HTTPError, psycopg.Error, WellosError and OSError."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        """No I/O: the first report connects."""
        self._settings, self._clock = settings, clock
        self._state_file = settings.data_dir / "reported.json"
        self._connection: PgConnection | None = None
        self._until: datetime | None = None

    def run_once(self, *, stored_until_us: int) -> int:
        """Report every hour that is closed, all of it stored, and not reported; return how many reports were sent.

        `stored_until_us`: every reading of an earlier source time that was received is stored.
        """
        if self._settings.dagster_url is None or not self._holds_lock():
            return 0
        closed = min(self._clock.now(), from_micros(stored_until_us)).replace(minute=0, second=0, microsecond=0)
        since = self._reported_until()
        if since is not None and closed <= since:
            return 0
        sent = 0
        with httpx.Client(base_url=self._settings.dagster_url, timeout=10) as client:
            for asset, name in _SOURCES:
                for day, metadata in self._days(name, since, closed):
                    body = {"partition": day.isoformat(), "metadata": metadata}
                    client.post(f"/report_asset_materialization/{asset}", json=body).raise_for_status()
                    sent += 1
            for asset, check, verdict in self._verdicts():
                answer: dict[str, Any] = {
                    "check_name": check,
                    "passed": verdict.passed,
                    "severity": verdict.severity,
                    "metadata": _plain(verdict.figures) | ({"why": verdict.description} if verdict.description else {}),
                }
                client.post(f"/report_asset_check/{asset}", json=answer).raise_for_status()
                sent += 1
        self._until = closed  # what cannot be written down is not told twice for that
        replace_file(self._state_file, json.dumps({"until": closed.isoformat()}))
        return sent

    def close(self) -> None:
        """Let another instance report."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _holds_lock(self) -> bool:
        if self._connection is not None and not self._connection.closed:
            self._connection.execute("SELECT 1")
            return True
        connection = warm.connect(self._settings, autocommit=True)
        row = connection.execute(_LOCK).fetchone()
        if row is None or not row[0]:
            connection.close()
            return False
        self._connection = connection
        return True

    def _reported_until(self) -> datetime | None:
        if self._until is not None or not self._state_file.exists():
            return self._until
        return datetime.fromisoformat(json.loads(self._state_file.read_text(encoding="utf-8"))["until"])

    def _verdicts(self) -> list[tuple[str, str, Verdict]]:
        """Return the checks of the same names that Dagster also runs by itself."""
        if self._connection is None:
            return []
        now, factor = self._clock.now(), pace(self._clock)
        return [
            ("readings", "newest_reading", newest_reading(self._connection, now, factor)),
            ("readings", "ingest_lag", ingest_lag(self._connection, now, factor)),
            ("field_entries", "newest_entry", newest_entry(self._connection, now)),
        ]

    def _days(self, name: str, since: datetime | None, until: datetime) -> list[tuple[date, dict[str, Any]]]:
        """Return each partition with something new in the window, and what to say of it."""
        if self._connection is None:
            return []
        first = datetime.combine(self._settings.partitions_start, time(), UTC)
        rows: list[tuple[date, dict[str, Any]]] = []
        start = first if since is None else max(first, since)
        while start < until:
            # A day a query: history may be long.
            end = min(until, start.replace(hour=0) + timedelta(days=1))
            cursor = self._connection.execute(query(name), {"since": start, "until": end})
            names = [column.name for column in cursor.description or ()][1:]
            for day, *values in cursor:
                if day >= first.date():
                    metadata = _plain(dict(zip(names, values, strict=True)))
                    rows.append((day, metadata | {"from": start.isoformat(), "to": end.isoformat()}))
            start = end
        return rows


async def report(reporter: Reporter, journal: Journal, clock: Clock) -> None:
    """Report for ever, from a thread."""
    told = False
    while True:
        await asyncio.sleep(_REPORT_S if told else _LOOK_S)
        oldest = journal.oldest_us
        until = clock.micros() if oldest is None else oldest
        try:
            sent = await asyncio.to_thread(reporter.run_once, stored_until_us=until)
        except (httpx.HTTPError, psycopg.Error, WellosError, OSError) as error:
            reporter.close()
            log.warning("Dagster was not told; it will be tried again", reason=str(error) or type(error).__name__)
            told = True
            continue
        told = False
        if sent:
            log.info("told Dagster of closed hours", reports=sent)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in values.items()}
