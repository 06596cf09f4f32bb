"""Dagster's database lies beside ours, whatever the address of ours looks like."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from wellos.embedded.dagster_database import address_beside, make_beside
from wellos.embedded.processes import Environment, code_server
from wellos.settings import load_settings
from wellos.storage.warm import connect

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("url", "beside"),
    [
        ("postgresql://u:p%2F@h:5432/wells", "postgresql://u:p%2F@h:5432/x_dagster"),
        ("postgresql://u:p@h:5432", "postgresql://u:p@h:5432/x_dagster"),
        ("postgresql://u:p@h/", "postgresql://u:p@h/x_dagster"),
        ("postgresql://u@h1:1,h2:2/wells?sslmode=require", "postgresql://u@h1:1,h2:2/x_dagster?sslmode=require"),
        ("postgresql:///wells?host=/run/pg", "postgresql:///x_dagster?host=/run/pg"),
        ("postgresql://h?dbname=wells&sslmode=disable", "postgresql://h/x_dagster?sslmode=disable"),
    ],
)
def test_only_the_database_changes(url: str, beside: str) -> None:
    assert address_beside(url, "x_dagster") == beside
    others = [
        {key: value for key, value in conninfo_to_dict(text).items() if key != "dbname"} for text in (url, beside)
    ]
    assert others[0] == others[1]


def test_a_name_with_special_characters_comes_back() -> None:
    assert conninfo_to_dict(address_beside("postgresql://h/a", "a b/c_dagster"))["dbname"] == "a b/c_dagster"


def test_it_is_made_once(database_url: str) -> None:
    with connect(load_settings(database_url=database_url), autocommit=True) as connection:
        url, made = make_beside(connection, database_url)
        try:
            assert made
            assert make_beside(connection, database_url) == (url, False)
            with psycopg.connect(url) as other:
                assert other.info.dbname == f"{connection.info.dbname}_dagster"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(f"{connection.info.dbname}_dagster")))


@pytest.mark.parametrize("url", ["postgresql://ann:p@h", "postgresql://ann:p@h:5/ann"])
def test_dagster_is_told_the_database_that_libpq_would_take(url: str, tmp_path: Path) -> None:
    spec = code_server(Environment(tmp_path, "127.0.0.1", {"dagster_database_url": url}), 1).spec
    assert spec.env is not None
    assert spec.env["DAGSTER_PG_DB"] == "ann"


def test_none_is_made_for_a_dagster_that_is_not_ours(tmp_path: Path) -> None:
    program = (
        "from wellos.embedded.stack import Options, Platform; from wellos.embedded.state import DataLock;"
        "from wellos.cli.up import LineReport; from wellos.settings import load_settings; settings = load_settings();"
        "platform = Platform(settings, Options(), DataLock(settings.data_dir), LineReport());"
        "platform._choose_databases(); print(platform.snapshot()['settings'].get('dagster_database_url'))"
    )
    given = {"WELLOS_DAGSTER_URL": "http://127.0.0.1:1", "WELLOS_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere"}
    # A process of its own: a platform takes over the signals and the orphans of the one it is made in.
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "WELLOS_DATA_DIR": str(tmp_path / "data"), **given},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "None", done.stderr
