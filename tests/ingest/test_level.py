"""The alarm of a spool that fills up: when it is raised, when it ends, and where it is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from structlog.testing import capture_logs

from streaming.counters import Counters
from streaming.health import IngestMetrics, application
from streaming.level import SpoolLevel
from streaming.spool import Journal
from tests.ingest.test_journal import entry
from wellos.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

QUOTA = 1 << 20
ROWS = 1000


class Stopwatch(WallClock):
    seconds = 100.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path, quota_bytes=QUOTA, segment_bytes=1 << 16, now_us=lambda: 0)
    yield made
    made.close()


def fill_to(journal: Journal, share: float) -> None:
    while journal.used_bytes < share * QUOTA:
        journal.append(entry(1, ROWS))
        journal.sync()


def drain_to(journal: Journal, share: float) -> None:
    while journal.used_bytes > share * QUOTA:
        journal.advance(journal.read(ROWS))


def test_seconds_left_is_what_is_free_at_the_rate_of_intake(journal: Journal) -> None:
    clock, counters = Stopwatch(), Counters()
    level = SpoolLevel(journal, counters, clock)
    fill_to(journal, 0.25)
    counters.terms["spooled"] = 500
    clock.seconds += 10
    level.measure()
    assert level.readings_per_s == 50
    assert level.seconds_left == pytest.approx(10 * (QUOTA - journal.used_bytes) / journal.appended_bytes)
    assert not level.alarm
    clock.seconds += 10
    level.measure()
    assert level.seconds_left is None, "nothing came in"


def test_the_alarm_is_raised_once_and_ends_when_there_is_room(journal: Journal) -> None:
    level = SpoolLevel(journal, Counters(), Stopwatch())
    raised = []
    with capture_logs() as said:
        for share in (0.5, 0.75, 0.81, 0.9):
            fill_to(journal, share)
            level.measure()
            raised.append(level.alarm)
        for share in (0.78, 0.6):
            drain_to(journal, share)
            level.measure()
            raised.append(level.alarm)
    assert raised == [False, False, True, True, True, False], "not at every breath"
    assert [(line["log_level"], line["event"]) for line in said] == [
        ("error", "the spool fills up"),
        ("info", "the spool has room again"),
    ]


async def test_the_alarm_is_in_the_metrics_and_beside_ready(journal: Journal) -> None:
    level = SpoolLevel(journal, Counters(), Stopwatch())
    metrics = IngestMetrics(Counters(), journal, level, list, lambda: (0, 0), dict, lambda: 0)
    transport = httpx.ASGITransport(application(metrics, str, lambda: level.warning))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        assert (await client.get("/readyz")).text == "ready\n"
        assert "scada_spool_alarm 0.0" in (await client.get("/metrics")).text
        fill_to(journal, 0.85)
        level.measure()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.text[:17]) == (200, "ready; the spool ")
        text = (await client.get("/metrics")).text
    assert "scada_spool_alarm 1.0" in text
    assert "scada_spool_kept_bytes 0.0" in text
