"""Ingest processes under test: each with a folder of its own, its log read as events, its metrics over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from tests.waiting import eventually
from wellos.fleet.apply import apply
from wellos.fleet.check import check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.storage.warm import PgConnection

ROOT = Path(__file__).parents[1]


def environment(**settings: object) -> dict[str, str]:
    """Return this process's environment with only these settings of ours."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WELLOS_")}
    return kept | {f"WELLOS_{key.upper()}": str(value) for key, value in settings.items()}


class IngestProcess:
    """`python -m streaming` on one folder."""

    def __init__(self, folder: Path, **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log = folder, folder / "ingest.log"
        self.log.touch()
        self.env = environment(data_dir=folder, log_format="json", **settings)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        (self.folder / "ingest.json").unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "streaming"], cwd=ROOT, env=self.env, stderr=log)
        eventually(lambda: self.get("/livez") == 200)

    @property
    def spool_id(self) -> str:
        return (self.folder / "spool" / "id").read_text().strip()

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines]

    def logged(self, event: str) -> list[dict[str, Any]]:
        return [item for item in self.events() if item["event"] == event]

    def get(self, path: str) -> int:
        try:
            return httpx.get(self.address + path, timeout=60).status_code
        except (httpx.TransportError, FileNotFoundError):
            return 0

    @property
    def address(self) -> str:
        return str(json.loads((self.folder / "ingest.json").read_text())["url"])

    def metric(self, name: str) -> float:
        lines = httpx.get(self.address + "/metrics", timeout=60).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, within_s: float = 90) -> int:
        """Stop in order."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)


class Ingests:
    """Makes processes on one database, and ends them."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder, self.settings = folder, settings
        self.made: list[IngestProcess] = []

    def __call__(self, name: str, **settings: object) -> IngestProcess:
        self.made.append(IngestProcess(self.folder / name, **(self.settings | settings)))
        return self.made[-1]


@contextlib.contextmanager
def ingests(folder: Path, **settings: object) -> Iterator[Ingests]:
    """Processes with these settings, killed at the end if they still run."""
    made = Ingests(folder, **settings)
    try:
        yield made
    finally:
        for process in made.made:
            process.kill()


@contextlib.contextmanager
def simulated_field(folder: Path, mqtt_url: str, clock: str) -> Iterator[bytes]:
    """Twelve simulated wells behind real servers, a connection a protocol, until the block ends; yields the fleet."""
    folder.mkdir()
    command = [sys.executable, "-m", "wellos", "simulate", "--wells", "12"]
    command += ["--fleet-out", str(folder / "fleet.yaml"), "--ready-file", str(folder / "ready.json")]
    with (folder / "log").open("wb") as log:
        env = environment(data_dir=folder, mqtt_url=mqtt_url, clock=clock)
        process = subprocess.Popen(command, cwd=ROOT, env=env, stderr=log)
    try:
        ready = folder / "ready.json"
        eventually(lambda: ready.exists() and json.loads(ready.read_text()).get("state") == "serving")
        yield (folder / "fleet.yaml").read_bytes()
    finally:
        process.terminate()
        process.wait()


def register(db: PgConnection, fleet: bytes) -> None:
    """Apply a fleet file."""
    checked = check(fleet, "fleet.yaml")
    assert checked.fleet is not None, checked
    apply(db, checked.fleet)
