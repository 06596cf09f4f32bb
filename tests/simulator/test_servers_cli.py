"""`wellos simulate` on the command line: what it refuses, and what it leaves behind when it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from wellos.cli.simulate import simulate
from wellos.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

START_S = 90


def refusal(*arguments: str) -> ConfigurationError:
    result = CliRunner().invoke(simulate, arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    return result.exception


def test_options_that_would_do_nothing_are_all_refused(tmp_path: Path) -> None:
    live = refusal("--replay", str(tmp_path), "--history", "3d", "--seed", "4")
    assert [problem.field for problem in live.problems] == ["--history", "--seed"]
    other = refusal("--limit-rows", "3", "--zone", "UTC")
    assert [problem.field for problem in other.problems] == ["--limit-rows", "--zone"]


def test_without_a_broker_the_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WELLOS_MQTT_URL", raising=False)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    assert [problem.field for problem in refusal().problems] == ["WELLOS_MQTT_URL"]


def test_a_speed_of_its_own_is_refused_with_the_clock_to_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WELLOS_MQTT_URL", "mqtt://127.0.0.1:1")
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    (problem,) = refusal("--speed", "60").problems
    assert problem.field == "--speed"
    assert "WELLOS_CLOCK" in problem.remedy


def test_an_unknown_zone_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WELLOS_MQTT_URL", "mqtt://127.0.0.1:1")
    monkeypatch.setenv("WELLOS_DATA_DIR", str(tmp_path))
    (problem,) = refusal("--replay", str(tmp_path), "--zone", "America/Sao_Paolo").problems
    assert problem.field == "--zone"


@pytest.mark.parametrize("text", ["30", "0d", "d", "-3d", "1y"])
def test_a_length_of_time_needs_a_number_and_a_unit(text: str) -> None:
    result = CliRunner().invoke(simulate, ["--history", text])
    assert result.exit_code == 2
    assert "such as 30d" in result.output


def test_it_says_when_it_is_ready_and_stops_on_sigterm(mqtt_url: str, tmp_path: Path) -> None:
    ready, fleet = tmp_path / "ready.json", tmp_path / "fleet.yaml"
    environment = {**os.environ, "WELLOS_MQTT_URL": mqtt_url, "WELLOS_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "wellos", "simulate", "--wells", "2", "--tags", "3"]
    files = ["--ready-file", str(ready), "--fleet-out", str(fleet)]
    with subprocess.Popen([*command, *files], env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + START_S
        while not ready.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        content = json.loads(ready.read_text())
        assert fleet.exists()
        assert content["state"] == "serving"
        assert content["pid"] == process.pid
        assert content["opcua"].startswith("opc.tcp://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=90)
    assert process.returncode == 0
