"""`wellos fleet` as a person uses it: output, warnings, exit status."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from wellos.cli import main
from wellos.fleet.check import check

if TYPE_CHECKING:
    from pathlib import Path

Run = Callable[..., tuple[int, str, str]]

TEXT = """\
version: 1
tenants:
  - slug: permian
    name: Permian Operating
    wells:
      - {name: PB-001, lift_type: esp, timezone: America/Chicago}
    connections:
      - name: broker
        protocol: mqtt
        config: {url: "mqtt://b", password: "hunter2"}
        tags:
          - {name: p, well: PB-001, address: "w/1#/p", unit: psi, quantity: pressure}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["wellos", "fleet", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.yaml"
    path.write_text(TEXT)
    return path


def test_validate(run: Run, file: Path) -> None:
    status, out, err = run("validate", "fleet.yaml")
    assert (status, out) == (0, "fleet.yaml: valid: 1 tenants, 1 wells, 1 connections, 1 tags\n")
    assert err.startswith("warning: fleet.yaml:10: tenants[0].connections[0].config.password: is in clear text.")
    file.write_text(TEXT.replace("unit: psi", "unit: pssi").replace("lift_type: esp", "lift_type: eps"))
    status, out, err = run("validate", "fleet.yaml")
    assert (status, out) == (2, "")
    assert "fleet.yaml:6: tenants[0].wells[0].lift_type: is not an allowed value (value 'eps')." in err
    assert "Did you mean esp? Allowed: flowing, rod_pump" in err
    assert "fleet.yaml:12: tenants[0].connections[0].tags[0].unit: is not a known unit (value 'pssi')." in err
    assert run("validate", "none.yaml")[0] == 2


def test_apply_diff_export(run: Run, file: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    status, out, _ = run("apply", "fleet.yaml", "--dry-run")
    assert status == 0
    assert out.splitlines()[-2:] == [
        "tags                  1          0          0          0          0",
        "dry run: nothing was written",
    ]
    assert run("diff", "fleet.yaml")[1].splitlines() == [
        "+ tenant permian: added",
        "+ well permian PB-001: added",
        "+ connection permian broker: added",
        "+ tag permian PB-001.p: added",
    ]
    assert run("apply", "fleet.yaml")[1].splitlines()[-1].split() == ["tags", "1", "0", "0", "0", "0"]
    assert run("apply", "fleet.yaml")[1].splitlines()[-1].split() == ["tags", "0", "0", "1", "0", "0"]
    assert run("diff", "fleet.yaml")[1] == "the registry is as fleet.yaml has it\n"
    file.write_text(TEXT.replace("unit: psi", "unit: bar").replace("hunter2", "hunter3"))
    out = run("diff", "fleet.yaml")[1]
    assert out == (
        "~ connection permian broker: changed, config.password *** -> ***\n"
        "~ tag permian PB-001.p: changed, unit psi -> bar\n"
    )
    status, out, _ = run("export", "--tenant", "permian")
    assert status == 0
    assert "hunter" not in out
    assert check(out.encode(), "f").fleet.counts()["tags"] == 1
    assert run("export", "--tenant", "permain")[0] == 2


def test_a_mistake_writes_nothing(run: Run, file: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WELLOS_DATABASE_URL", database_url)
    file.write_text(TEXT.replace("w/1#/p", "w/+"))
    status, _, err = run("apply", "fleet.yaml")
    assert status == 2
    assert "fleet.yaml:12: " in err
    assert run("export")[1] == "version: 1\ntenants: []\n"


def test_a_database_that_does_not_answer(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert file.exists()
    monkeypatch.setenv("WELLOS_DATABASE_URL", "postgresql://ann:hunter2@127.0.0.1:1/db")
    status, _, err = run("apply", "fleet.yaml")
    assert status == 2
    assert "WELLOS_DATABASE_URL" in err
    assert "hunter2" not in err
