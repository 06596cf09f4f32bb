"""The wheel carries all that the platform needs, and its code runs outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("wellos-*.whl"))


def test_wheel_carries_sql_dagster_files_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    migrations = {f"wellos/_share/sql/migrations/{file.name}" for file in (ROOT / "sql/migrations").glob("*.sql")}
    queries = {f"wellos/_share/sql/queries/{file.name}" for file in (ROOT / "sql/queries").glob("*.sql")}
    assert migrations
    assert migrations | queries <= names
    assert {"wellos/_share/dagster.yaml", "wellos/_share/workspace.yaml", "wellos/py.typed"} <= names
    assert not {name for name in names if name.startswith(("tests/", "benchmarks/", "docs/"))}


def test_installed_wheel_starts_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    code = (
        "import wellos, streaming, sensors, wellos_dagster; from wellos.storage.sql import sql_folder;"
        "print(wellos.__file__); print(sorted(p.name for p in (sql_folder() / 'migrations').iterdir())[0])"
    )
    ran = subprocess.run(
        [sys.executable, "-P", "-c", code],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(target), "PATH": "/usr/bin:/bin"},
    )
    where, first = ran.stdout.split()
    assert Path(where).is_relative_to(target)
    assert first == "0001_registry.sql"
