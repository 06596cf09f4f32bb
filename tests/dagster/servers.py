"""The three Dagster processes as `wellos up` starts them: code server, webserver, daemon; on databases of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from psycopg.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import date

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = {"repositoryLocationName": "wellos", "repositoryName": "__repository__"}
LAUNCH = """
mutation($p: ExecutionParams!) { launchRun(executionParams: $p) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }
"""
RUN = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"


@dataclass(frozen=True, slots=True)
class Webserver:
    """A running webserver."""

    url: str

    def query(self, text: str, **variables: object) -> Any:  # noqa: ANN401 - JSON
        """Ask GraphQL; an error of it fails the test."""
        answer = httpx.post(f"{self.url}/graphql", json={"query": text, "variables": variables}, timeout=90).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def run(self, asset: str, day: date, *, check: str) -> str:
        """Launch a run of one partition and one check of an asset, wait for its end, and return its status."""
        selector = {
            **REPOSITORY,
            "jobName": "__ASSET_JOB",
            "assetSelection": [{"path": [asset]}],
            "assetCheckSelection": [{"assetKey": {"path": [asset]}, "name": check}],
        }
        tags = [{"key": "dagster/partition", "value": day.isoformat()}]
        launched = self.query(LAUNCH, p={"selector": selector, "executionMetadata": {"tags": tags}})["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]

        def status() -> str:
            return str(self.query(RUN, id=run_id)["runOrError"]["status"])

        wait_for(lambda: status() in {"SUCCESS", "FAILURE", "CANCELED"}, 240, status)
        return status()


def dagster_environment(home: Path, database_url: str) -> Mapping[str, str]:
    """Make DAGSTER_HOME with the repository's own dagster.yaml, and the variables that it wants."""
    home.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home)
    parts = conninfo_to_dict(database_url)
    return {
        "DAGSTER_HOME": str(home),
        "DAGSTER_PG_HOST": str(parts["host"]),
        "DAGSTER_PG_PORT": str(parts["port"]),
        "DAGSTER_PG_USER": str(parts["user"]),
        "DAGSTER_PG_PASSWORD": str(parts.get("password") or ""),
        "DAGSTER_PG_DB": str(parts["dbname"]),
    }


@contextmanager
def dagster_servers(folder: Path, *, database_url: str, dagster_database_url: str) -> Iterator[Webserver]:
    """Start all three, wait until the code location is loaded and every daemon lives, and stop them afterwards."""
    code_port, port = _free_ports(2)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("WELLOS_", "DAGSTER_"))},
        **dagster_environment(folder / "home", dagster_database_url),
        "WELLOS_DATABASE_URL": database_url,
        "WELLOS_DATA_DIR": str(folder),
        "WELLOS_LOG_FORMAT": "json",
    }
    workspace = folder / "workspace.yaml"
    workspace.write_text(
        f"load_from:\n  - grpc_server: {{host: 127.0.0.1, port: {code_port}, location_name: wellos}}\n",
        encoding="utf-8",
    )
    module = ("-m", "wellos_dagster.definitions", "--location-name", "wellos", "--use-python-environment-entry-point")
    commands = {
        "code-server": ("dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(code_port), *module),
        "webserver": ("dagster_webserver", "-h", "127.0.0.1", "-p", str(port), "-w", str(workspace)),
        "daemon": ("dagster._daemon", "run", "-w", str(workspace)),
    }
    server = Webserver(f"http://127.0.0.1:{port}")
    with ExitStack() as stack:
        for name, (program, *arguments) in commands.items():
            stack.enter_context(_child(folder, name, [sys.executable, "-m", program, *arguments], environment))
            if name == "code-server":
                wait_for(lambda: _listening(code_port), 300, lambda: _log(folder, "code-server"))
        wait_for(lambda: _ready(server), 300, lambda: "\n".join(_log(folder, name) for name in commands))
        yield server


def wait_for(condition: Callable[[], bool], seconds: float, explain: Callable[[], object]) -> None:
    """Wait until something is so; the test fails with what `explain` says when it takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.25)


def _ready(server: Webserver) -> bool:
    try:
        answer = server.query(
            "{ workspaceOrError { ... on Workspace { locationEntries { locationOrLoadError { __typename } } } }"
            "  instance { daemonHealth { allDaemonStatuses { required healthy } } } }"
        )
    except httpx.HTTPError:
        return False
    entries = answer["workspaceOrError"]["locationEntries"]
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    return all(daemon["healthy"] for daemon in daemons if daemon["required"]) and [
        (entry["locationOrLoadError"] or {}).get("__typename") for entry in entries
    ] == ["RepositoryLocation"]


@contextmanager
def _child(folder: Path, name: str, command: list[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Run a server in a process group of its own: whatever it started is stopped with it."""
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _log(folder: Path, name: str) -> str:
    return f"{name}: {(folder / f'{name}.log').read_text(errors='replace')[-3000:]}"


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
