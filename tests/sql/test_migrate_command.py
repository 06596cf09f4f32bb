"""`wellos migrate` as a person uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.storage.warm import Engine


def _migrate(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WELLOS_")}
    environment |= {"WELLOS_DATABASE_URL": url, "WELLOS_DATA_DIR": str(folder)}
    command = [sys.executable, "-m", "wellos", "migrate", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=180)


def test_dry_run_then_migrate_then_status(empty_database_url: str, tmp_path: Path, database_engine: Engine) -> None:
    dry = _migrate(empty_database_url, tmp_path, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert "0001 registry: would apply 0001_registry.sql" in dry.stdout
    with psycopg.connect(empty_database_url) as connection:
        assert connection.execute("SELECT to_regclass('tenants')").fetchone() == (None,)

    done = _migrate(empty_database_url, tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"applied 0003_readings.{database_engine}.sql" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("up to date")
    assert ("not done by this engine" in done.stdout) == (database_engine == "plain")

    again = _migrate(empty_database_url, tmp_path)
    assert (again.returncode, "applied" in again.stdout) == (0, False)
    status = _migrate(empty_database_url, tmp_path, "--status")
    assert "0003 readings: applied 20" in status.stdout
    assert f"({database_engine})" in status.stdout


def test_an_edited_migration_exits_2(database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE schema_migrations SET checksum = 'other' WHERE version = 1")
    for options in ([], ["--dry-run"], ["--status"]):
        result = _migrate(database_url, tmp_path, *options)
        assert result.returncode == 2
        assert "0001_registry.sql: migration edited after it was applied" in result.stderr


def test_an_unreachable_database_exits_2_without_the_password(tmp_path: Path) -> None:
    result = _migrate("postgresql://sam:s3cret@127.0.0.1:1/fields", tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith("wellos: WELLOS_DATABASE_URL: cannot use postgresql://sam@127.0.0.1:1/fields")
    assert "s3cret" not in result.stderr
    assert "Traceback" not in result.stderr


def test_options_that_exclude_each_other(tmp_path: Path) -> None:
    result = _migrate("postgresql://127.0.0.1:1/fields", tmp_path, "--dry-run", "--status")
    assert result.returncode == 2
    assert "exclude each other" in result.stderr
