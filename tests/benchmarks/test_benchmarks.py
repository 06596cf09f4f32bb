"""Every benchmark can be started, says what it measures, and prints what its readers expect."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.report import Machine, Report

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_entry_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_module(BENCHMARKS[name]).__doc__
    with pytest.raises(SystemExit) as left:
        main([name, "--help"])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert f"python -m benchmarks {name}" in shown
    assert "--json" in shown


def test_every_module_has_an_entry() -> None:
    modules = {path.stem for path in FOLDER.glob("*.py") if "\ndef main(" in path.read_text()} - {"__main__"}
    assert modules == {module.removeprefix("benchmarks.") for module in BENCHMARKS.values()}


def test_an_unknown_name_lists_the_known_ones() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "nope"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert all(name in done.stderr for name in BENCHMARKS)


def test_a_small_run_on_a_real_server(database_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["copy_readings", "--json", "--batches", "2", "--database-url", database_server]) == 0
    content = json.loads(capsys.readouterr().out)
    assert set(content) == {"benchmark", "figures", "limit", "ratio"}
    assert content["benchmark"] == "copy_readings"
    assert content["figures"]["rows/s, median"] > 0
    assert content["limit"]["rows/s into a bare table, median"] > 0


def test_a_small_archive(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cold_read", "--json", "--wells", "1", "--reads", "5"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert 0 < figures["bytes a reading, simulated"] < 2
    assert 0 < figures["ms a tag-day, p50"] <= figures["ms a tag-day, p95"]


def test_a_small_archive_on_a_real_server(database_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--wells", "1", "--every-s", "60", "--repeat", "1"]
    assert main(["archive", "--json", *small, "--database-url", database_server]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["figures"]["simulated: rows/s, whole"] > 0
    assert content["figures"]["simulated: s, drop"] > 0
    assert content["limit"]["simulated: rows/s, raw COPY out"] > 0


def test_a_small_run_on_a_real_redis(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hot", "--json", "--tags", "100", "--batches", "2"]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert 0 < figures["KB a tag-day, all hours packed"] < figures["KB a tag-day, were all hours open"] < 100


def test_a_small_dashboard_is_mostly_served_from_the_cache(
    capsys: pytest.CaptureFixture[str], database_server: str
) -> None:
    small = ["--wells", "2", "--clients", "2", "--steps", "3", "--days", "2", "--database-url", database_server]
    assert main(["cache", "--json", *small]) == 0
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert figures["queries"] == 24
    assert figures["hit rate, %"] > 30


def test_the_table_tells_figures_limit_and_machine() -> None:
    machine = Machine("Some CPU", 2, 8.0, "Linux 6", 0.1)
    shown = Report("x", {"rows/s": 1234.0}, {"rows/s at most": 2468.0}, 0.5, ("Redis 7",)).as_table(machine)
    assert "Some CPU, 2 cores, 8 GB, Linux 6, load before 0.1" in shown
    assert "1,234" in shown
    assert "2,468  (limit)" in shown
    assert "Redis 7" in shown
    assert shown.endswith("0.50")


def test_this_machine_is_described() -> None:
    machine = Machine.read()
    assert machine.cpu
    assert machine.cores > 0
    assert machine.memory_gb > 0
