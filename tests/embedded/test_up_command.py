"""What `wellos up` refuses before anything is started, and what it leaves alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from wellos.cli.up import up
from wellos.embedded.state import DataLock
from wellos.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WELLOS_DATA_DIR", str(folder))
    return folder


def refusal(*arguments: str) -> ConfigurationError:
    result = CliRunner().invoke(up, arguments)
    assert isinstance(result.exception, ConfigurationError), result.output
    return result.exception


def test_options_that_would_do_nothing_are_all_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data_folder: Path
) -> None:
    replay = refusal("--replay", str(tmp_path), "--history", "3d", "--wells", "12", "--seed", "4")
    assert [problem.field for problem in replay.problems] == ["--history", "--seed", "--wells"]
    live = refusal("--zone", "UTC", "--wells", "3")
    assert [problem.field for problem in live.problems] == ["--zone"]
    monkeypatch.setenv("WELLOS_FLEET_FILE", str(tmp_path / "fleet.yaml"))
    real = refusal("--replay", str(tmp_path), "--zone", "UTC", "--wells", "3")
    assert [problem.field for problem in real.problems] == ["--replay", "--wells", "--zone"]
    assert not data_folder.exists()


@pytest.mark.parametrize("zone", ["America/Sao_Paolo", "America", ""])
def test_a_zone_that_is_none_is_refused_before_anything_starts(zone: str, tmp_path: Path, data_folder: Path) -> None:
    [problem] = refusal("--replay", str(tmp_path), "--zone", zone).problems
    assert (problem.field, problem.value) == ("--zone", zone)
    assert not data_folder.exists()


def test_a_refused_second_start_keeps_the_log_of_the_first(data_folder: Path) -> None:
    lock = DataLock(data_folder)
    try:
        (data_folder / "logs").mkdir()
        log = data_folder / "logs" / "up.log"
        log.write_text("of the first\n")
        [problem] = refusal("--detach").problems
        assert f"in use by process {os.getpid()}" in problem.message
        assert log.read_text() == "of the first\n"
    finally:
        lock.release()
