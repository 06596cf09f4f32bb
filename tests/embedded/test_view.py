"""The table of `wellos up` and `wellos status` says what is up, what is not and why, and what flows."""

from __future__ import annotations

from typing import Any

from wellos.embedded.figures import NOTHING
from wellos.embedded.view import to_text

LOSS = "Only what the broker dropped."


def part(name: str, state: str = "up", **more: object) -> dict[str, Any]:
    made = {"name": name, "state": state, "address": f"http://{name}:1", "since_us": 1_760_000_000_000_000}
    return {**made, "restarts": 0, "error": "", "note": "", "pid": 1, "log": None, **more}


def snapshot(*parts: dict[str, Any], **more: object) -> dict[str, Any]:
    return {"parts": list(parts), "settings": {"clock": "wall"}, "figures": NOTHING, "progress": "", **more}


def line(text: str, word: str) -> str:
    return next(item for item in text.splitlines() if word in item)


def test_a_part_says_where_it_is_and_what_is_wrong() -> None:
    text = to_text(
        snapshot(
            part("dagster"),
            part("redis", up=False, reason="Timeout reading from socket"),
            part("ingest", "restarting", restarts=2, error="ended with status 137"),
            part("broker", note="amqtt, a convenience only"),
        ),
        width=200,
    )
    assert "http://dagster:1" in line(text, "dagster")
    assert "down" in line(text, "redis")
    assert "Timeout" in line(text, "redis")
    assert "restarted 2x; ended with status 137" in line(text, "ingest")
    assert "a convenience only" in line(text, "broker")
    assert "Dagster UI: http://dagster:1" in text
    assert "ingest metrics" not in text


def test_connections_and_figures_are_shown() -> None:
    connection = {
        "tenant": "permian",
        "name": "mqtt-1",
        "protocol": "mqtt",
        "enabled": True,
        "tags": 30,
        "state": "connected",
        "since_us": 1,
        "last_reading_us": 1_760_000_000_000_000,
        "readings_per_s": 1234.56,
        "readings_total": 9,
        "error": "",
        "loss_window": LOSS,
        "owner": {"spool_id": "a", "hostname": "pump", "pid": 7, "term": 3, "lease_until_us": 1},
    }
    broken = {
        **connection,
        "owner": None,
        "name": "plc",
        "state": "failed",
        "error": "timed out",
        "readings_per_s": None,
    }
    ingest = {
        "instances": 1,
        "unclaimed": 1,
        "readings_per_s": 1234.5,
        "lag_s": 0.25,
        "spool_rows": 12_000,
        "spool_bytes": 2_500_000,
        "spool_seconds_left": 3600.0,
    }
    found = snapshot(part("ingest"), figures={"connections": [connection, broken], "ingest": ingest, "error": ""})
    text = to_text(found, width=200)
    assert "1,234.6" in line(text, "permian/mqtt-1")
    assert LOSS in line(text, "permian/mqtt-1")
    assert "pump:7 term 3" in line(text, "permian/mqtt-1")
    assert "connections that no instance reads: 1" in text
    assert "timed out" in line(text, "permian/plc")
    assert "readings/s 1,234.5   lag 0.2 s   spool 12,000 readings, 2.5 MB, full in 60 min" in text
    assert LOSS not in to_text(found, in_full=False, width=200)


def test_progress_and_platform_time_are_shown_when_there_are_any() -> None:
    clock = "2020-01-01T00:00:00Z@2026-01-01T00:00:00Z*60"
    text = to_text(snapshot(part("ingest"), settings={"clock": clock}, progress="history: readings 42%"))
    assert "history: readings 42%" in text
    assert "platform time" in text
    assert "(60x)" in text
