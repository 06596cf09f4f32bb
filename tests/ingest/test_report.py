"""What Dagster is told: the days of history first, then each closed hour once, and nothing that is not stored yet."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import numpy as np
import pytest

from streaming.report import Reporter
from wellos.clock import to_micros
from wellos.quality import Quality
from wellos.readings import pack
from wellos.settings import Settings, load_settings
from wellos.storage.copy import copy_readings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wellos.storage.warm import PgConnection

CHECKS = 3
NOW = datetime(2026, 11, 20, 10, 30, tzinfo=UTC)


@dataclass
class Moment:
    """A clock that stands still until it is moved."""

    at: datetime = NOW

    def now(self) -> datetime:
        return self.at

    def micros(self) -> int:
        return to_micros(self.at)

    def monotonic(self) -> float:
        return 0.0


@dataclass
class Webserver:
    """Answers like Dagster's webserver and remembers what it was told."""

    told: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    status: int = 200
    url: str = ""

    def take(self) -> list[tuple[str, str, int]]:
        told, self.told = self.told, []
        counts = ((body["metadata"], path, body["partition"]) for path, body in told if "partition" in body)
        return [(path.rpartition("/")[2], day, meta.get("readings", meta.get("entries"))) for meta, path, day in counts]


@pytest.fixture
def webserver() -> Iterator[Webserver]:
    made = Webserver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if made.status == 200:
                made.told.append((self.path, body))
            self.send_response(made.status)
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


@pytest.fixture
def report_settings(database_url: str, webserver: Webserver, tmp_path: Path) -> Settings:
    return load_settings(database_url=database_url, dagster_url=webserver.url, data_dir=tmp_path)


def store(db: PgConnection, start: datetime, hours: int) -> None:
    times = to_micros(start) + np.arange(hours * 4) * 900_000_000
    with db.cursor() as cursor:
        copy_readings(cursor, pack(times, 1.0, 1, Quality.GOOD))


def test_history_then_each_hour_once(report_settings: Settings, webserver: Webserver, db: PgConnection) -> None:
    clock = Moment()
    store(db, datetime(2026, 11, 18, 12, tzinfo=UTC), 30)
    tenant = db.execute("INSERT INTO tenants (slug, name) VALUES ('acme', 'A') RETURNING tenant_id").fetchone()
    assert tenant is not None
    well = db.execute(
        "INSERT INTO wells (tenant_id, name, lift_type) VALUES (%s, 'W', 'esp') RETURNING well_id", tenant
    ).fetchone()
    assert well is not None
    db.execute(
        "INSERT INTO field_entries (entry_id, tenant_id, well_id, entry_type, gauged_at, entered_at, received_at, data,"
        " created_by) VALUES (%s, %s, %s, 'production', '2026-11-17 06:00Z', '2026-11-17 06:00Z', '2026-11-18 01:00Z',"
        " '{}', 'p')",
        (uuid4(), tenant[0], well[0]),
    )
    reporter = Reporter(report_settings, clock)
    assert reporter.run_once(stored_until_us=clock.micros()) == 3 + CHECKS
    assert webserver.take() == [
        ("readings", "2026-11-18", 48),
        ("readings", "2026-11-19", 72),
        ("field_entries", "2026-11-17", 1),
    ]
    store(db, NOW.replace(minute=0), 2)
    assert reporter.run_once(stored_until_us=clock.micros()) == 0
    clock.at += timedelta(hours=1)
    assert reporter.run_once(stored_until_us=to_micros(NOW)) == 0, "some of that hour is still in the spool"
    assert reporter.run_once(stored_until_us=clock.micros()) == 1 + CHECKS
    assert webserver.take() == [("readings", "2026-11-20", 4)]
    reporter.close()
    again = Reporter(report_settings, clock)
    assert again.run_once(stored_until_us=clock.micros()) == 0
    again.close()


def test_a_full_disk_is_said_and_nothing_is_told_twice(
    report_settings: Settings, webserver: Webserver, db: PgConnection
) -> None:
    store(db, datetime(2026, 11, 19, tzinfo=UTC), 1)
    clock = Moment()
    reporter = Reporter(report_settings, clock)
    assert reporter.run_once(stored_until_us=clock.micros()) == 1 + CHECKS
    kept = (report_settings.data_dir / "reported.json").read_text()
    (report_settings.data_dir / "reported.json.new").mkdir()  # what a file cannot be written in place of
    clock.at += timedelta(hours=1)
    with pytest.raises(OSError, match="reported"):
        reporter.run_once(stored_until_us=clock.micros())
    assert (report_settings.data_dir / "reported.json").read_text() == kept
    webserver.take()
    assert reporter.run_once(stored_until_us=clock.micros()) == 0
    reporter.close()


def test_one_instance_reports(report_settings: Settings, webserver: Webserver, db: PgConnection) -> None:
    store(db, datetime(2026, 11, 19, tzinfo=UTC), 1)
    first, second = Reporter(report_settings, Moment()), Reporter(report_settings, Moment())
    assert first.run_once(stored_until_us=to_micros(NOW)) == 1 + CHECKS
    (report_settings.data_dir / "reported.json").unlink()
    assert second.run_once(stored_until_us=to_micros(NOW)) == 0
    first.close()
    assert second.run_once(stored_until_us=to_micros(NOW)) == 1 + CHECKS
    second.close()
    assert len(webserver.take()) == 2


def test_what_dagster_did_not_take_is_told_again(
    report_settings: Settings, webserver: Webserver, db: PgConnection
) -> None:
    store(db, datetime(2026, 11, 19, tzinfo=UTC), 1)
    reporter = Reporter(report_settings, Moment())
    webserver.status = 500
    with pytest.raises(httpx.HTTPStatusError):
        reporter.run_once(stored_until_us=to_micros(NOW))
    webserver.status = 200
    assert reporter.run_once(stored_until_us=to_micros(NOW)) == 1 + CHECKS
    reporter.close()


def test_the_checks_are_told_with_what_was_found(
    report_settings: Settings, webserver: Webserver, db: PgConnection
) -> None:
    store(db, datetime(2026, 11, 19, tzinfo=UTC), 1)
    reporter = Reporter(report_settings, Moment())
    reporter.run_once(stored_until_us=to_micros(NOW))
    reporter.close()
    told = {(path.split("/")[-1], body["check_name"]): body for path, body in webserver.told if "check_name" in body}
    assert set(told) == {("readings", "newest_reading"), ("readings", "ingest_lag"), ("field_entries", "newest_entry")}
    lag = told["readings", "ingest_lag"]
    assert (lag["passed"], lag["severity"], lag["metadata"]) == (
        False,
        "ERROR",
        {"why": "no ingest instance is running"},
    )
    assert told["field_entries", "newest_entry"]["passed"]
