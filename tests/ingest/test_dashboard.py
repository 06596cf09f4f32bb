"""The Grafana dashboard asks for metrics that ingest has, and for all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import numpy as np
import pytest

from streaming.counters import TERMS, Counters
from streaming.delivery import Status
from streaming.health import IngestMetrics, application
from streaming.level import SpoolLevel
from streaming.spool import Journal
from wellos.clock import WallClock
from wellos.quality import Quality
from wellos.readings import pack
from wellos.registry import Connection

if TYPE_CHECKING:
    from collections.abc import Callable

DASHBOARD = Path(__file__).parents[2] / "deploy" / "grafana" / "ingest.json"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return content


async def _page(tmp_path: Path, reason_not_ready: Callable[[], str] = str, path: str = "/metrics") -> httpx.Response:
    journal = Journal(tmp_path / "spool", quota_bytes=1 << 22, segment_bytes=1 << 20, now_us=lambda: 0)
    counters = Counters()
    batch = pack(np.arange(3), 1.0, 1, [Quality.GOOD, Quality.BAD, Quality.GOOD])
    for tenant, protocol, part in (("acme", "mqtt", batch), ("beta", "opcua", batch[:1]), ("acme", "mqtt", batch)):
        counters.count_quality(tenant, protocol, part)
    counters.findings["acme", "range"] += 1
    counters.restarts["acme", "plc"] += 1
    counters.count_latency(np.array([0]), 1_000_000)
    level = SpoolLevel(journal, counters, WallClock())
    level.seconds_left = 100.0
    modbus = Connection(1, UUID(int=1), "acme", "plc", "modbus", {})
    metrics = IngestMetrics(
        counters,
        journal,
        level,
        lambda: [(modbus, Status("connected"))],
        lambda: (1, 0),
        lambda: {"database": True, "redis": False},
        lambda: 0,
    )
    transport = httpx.ASGITransport(application(metrics, reason_not_ready))
    async with httpx.AsyncClient(transport=transport, base_url="http://ingest") as client:
        answer = await client.get(path)
    journal.close()
    return answer


def _expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def _asked_for(dashboard: dict[str, Any]) -> set[str]:
    return {name for text in _expressions(dashboard) for name in re.findall(r"\b(?:scada|process)_\w+", text)}


async def test_it_asks_for_metrics_that_exist_and_for_each_of_ours(tmp_path: Path, dashboard: dict[str, Any]) -> None:
    lines = (await _page(tmp_path)).text.splitlines()
    samples = {re.split(r"[{ ]", line)[0] for line in lines if line and not line.startswith("#")}
    assert _asked_for(dashboard) - samples == set()
    ours = {name for name in samples if name.startswith("scada_") and not name.endswith("_created")}
    assert ours - _asked_for(dashboard) == set()


async def test_each_label_that_it_groups_by_exists(tmp_path: Path, dashboard: dict[str, Any]) -> None:
    text = (await _page(tmp_path)).text
    for expression in _expressions(dashboard):
        for group, name in re.findall(r"by \(([^)]*)\).*?((?:scada|process)_\w+)", expression):
            for label in set(group.split(", ")) - {"instance"}:  # Prometheus's own label
                assert re.search(rf"^{name}{{[^}}]*\b{label}=", text, re.MULTILINE), (expression, label)


async def test_every_term_of_the_identity_is_there_from_the_start(tmp_path: Path) -> None:
    text = (await _page(tmp_path)).text
    for term in TERMS:
        assert f'scada_accounting_total{{term="{term}"}} 0.0' in text
    for term in ("stored", "repeated", "replaced", "superseded", "poisoned", "lost", "skipped"):
        assert f'scada_stored_total{{term="{term}"}} 0.0' in text
    assert 'scada_server_up{server="redis"} 0.0' in text
    assert "scada_spool_pending_rows 0.0" in text


async def test_qualities_are_counted_by_tenant_and_protocol(tmp_path: Path) -> None:
    text = (await _page(tmp_path)).text
    found = dict(re.findall(r"^scada_readings_ingested_total{(.*)} (.*)$", text, re.MULTILINE))
    assert found == {
        'protocol="mqtt",quality="GOOD",tenant_id="acme"': "4.0",
        'protocol="mqtt",quality="BAD",tenant_id="acme"': "2.0",
        'protocol="opcua",quality="GOOD",tenant_id="beta"': "1.0",
    }


async def test_living_does_not_depend_on_the_database_and_readiness_does(tmp_path: Path) -> None:
    def away() -> str:
        return "the database is not available"

    assert (await _page(tmp_path, away, "/livez")).status_code == 200
    answer = await _page(tmp_path, away, "/readyz")
    assert answer.status_code == 503
    assert "database" in answer.text
    assert (await _page(tmp_path, path="/readyz")).status_code == 200


def test_no_panel_lies_on_another(dashboard: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(numbers)) == len(numbers)
