"""`wellos drop` and `wellos restore`: what they say and the exit status, with days named, a range, or none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from tests.tiering import DAY, NOW, Platform
from wellos.cli import cli

if TYPE_CHECKING:
    from click.testing import Result


@pytest.fixture
def environment(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """The platform as a command finds it."""
    assert platform.settings.database_url is not None
    monkeypatch.setenv("WELLOS_DATABASE_URL", platform.settings.database_url.get_secret_value())
    monkeypatch.setenv("WELLOS_DATA_DIR", str(platform.settings.data_dir))
    monkeypatch.setenv("WELLOS_CLOCK", f"{NOW:%Y-%m-%dT%H:%M:%SZ}@{NOW:%Y-%m-%dT%H:%M:%SZ}*0.000000001")
    return platform


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def _days(result: Result) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(result.stdout)["days"]
    return found


def test_days_leave_and_come_back(environment: Platform) -> None:
    assert _run("drop").stdout == "no day may go now\n"
    stays = _run("drop", "--day", "2026-08-01")
    assert stays.exit_code == 1
    assert "2026-08-01  stays\n    tenant acme has no verified copy of it in parquet" in stays.stdout
    environment.archive()
    assert _run("drop", "--dry-run").stdout == "2026-08-01  would go\n"
    assert environment.dropped() == []
    gone = _run("drop", "--json")
    assert gone.exit_code == 0
    [found] = _days(gone)
    assert (found["day"], found["dropped"], found["obstacles"]) == ("2026-08-01", True, [])
    assert found["rows"] == len(environment.of())

    asked = _run("restore", "--day", "2026-08-01", "--dry-run")
    assert (asked.exit_code, asked.stdout) == (0, "2026-08-01  could be restored: 216 readings of 2 tenants\n")
    back = _run("restore", "--from", "2026-08-01", "--to", "2026-08-02", "--keep-days", "3", "--json")
    assert back.exit_code == 1
    first, second = _days(back)
    assert (first["rows"], first["keep_until"][:16]) == (216, "2026-11-24T00:00")
    assert "it was not dropped" in second["error"]
    assert environment.dropped() == []
    assert "is kept until 2026-11-24" in _run("drop", "--day", str(DAY)).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("restore",), "which days?"),
        (("restore", "--from", "2026-08-01"), "both --from and --to"),
        (("drop", "--from", "2026-08-02", "--to", "2026-08-01"), "is after"),
        (("drop", "--day", "2026-08-01", "--to", "2026-08-01"), "give --day, or --from and --to"),
        (("restore", "--day", "yesterday"), "does not match the format"),
    ],
)
def test_days_that_make_no_sense_are_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
