"""`wellos archive`, as it is typed: output, exit status, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.archiving import DAY, add_day, make_day
from tests.seed import add_tags

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import PgConnection

CLOCK = "2026-11-05T12:00:00Z@2027-01-01T00:00:00Z*0.000001"


@pytest.fixture
def run(database_url: str, tmp_path: Path) -> Any:  # noqa: ANN401 - a function
    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        named = {"WELLOS_DATABASE_URL": database_url, "WELLOS_DATA_DIR": str(tmp_path), "WELLOS_CLOCK": CLOCK}
        command = [sys.executable, "-m", "wellos", "archive", *arguments]
        return subprocess.run(command, env=os.environ | named, capture_output=True, text=True, check=False, timeout=60)

    return call


@pytest.fixture
def _readings(db: PgConnection) -> None:
    tags = add_tags(db, 2)
    for days in range(2):
        add_day(db, make_day(tags, 50, day=DAY + timedelta(days)), DAY + timedelta(days))


@pytest.mark.usefixtures("_readings")
def test_a_range_is_archived_verified_and_repaired(run: Any, tmp_path: Path) -> None:  # noqa: ANN401 - a function
    planned = run("--dry-run")
    assert planned.returncode == 0
    assert "acme  2026-11-01  new" in planned.stdout
    assert "2 tenant-days would be archived" in planned.stdout
    done = run("--json")
    assert done.returncode == 0, done.stderr
    assert [(one["day"], one["outcome"], one["rows"]) for one in json.loads(done.stdout)] == [
        ("2026-11-01", "archived", 100),
        ("2026-11-02", "archived", 100),
    ]
    assert "nothing to be archived" in run().stdout
    assert run("--dry-run").stdout == "nothing would be archived\n"
    forced = run("--force", "--from", "2026-11-02", "--to", "2026-11-02")
    assert "1 tenant-days archived, 100 readings" in forced.stdout
    for path in (tmp_path / "cold").glob("tenant=*/day=2026-11-01/*.parquet"):
        path.write_bytes(b"nothing of the kind")
    verified = run("--verify")
    assert verified.returncode == 0, verified.stderr
    assert "acme  2026-11-01  repaired" in verified.stdout
    assert "acme  2026-11-02  equal" in verified.stdout


@pytest.mark.usefixtures("_readings")
def test_a_damaged_copy_of_a_dropped_day_is_exit_status_1(
    run: Any,  # noqa: ANN401 - a function
    db: PgConnection,
    tmp_path: Path,
) -> None:
    assert run().returncode == 0
    db.execute("UPDATE reading_days SET dropped_at = now()")
    for path in (tmp_path / "cold").glob("tenant=*/day=2026-11-01/*.parquet"):
        path.write_bytes(b"nothing of the kind")
    verified = run("--verify")
    assert verified.returncode == 1
    assert "FAILED  acme 2026-11-01" in verified.stderr
    assert "day=2026-11-01/part-0.parquet" in verified.stderr


@pytest.mark.usefixtures("_readings")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--tenant", "acne"), "--tenant: no such tenant (value 'acne'). Did you mean acme?"),
        (("--to", "2026-11-05"), "--to: has not ended yet (value '2026-11-05'). The last day is 2026-11-04"),
        (("--from", "2026-11-04", "--to", "2026-11-03"), "--from: is after the last day"),
        (("--verify", "--force"), "--verify: goes with neither"),
        (("--from", "yesterday"), "does not match the format"),
        (("--verify", "--tenant", "acne"), "Did you mean acme?"),
    ],
)
def test_mistakes_are_exit_status_2(run: Any, arguments: tuple[str, ...], told: str) -> None:  # noqa: ANN401 - a function
    done = run(*arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr
