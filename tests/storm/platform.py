"""The platform under the storm: servers that can be broken, ingest processes, and the sources' own processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg

from tests.proxy import Proxy
from tests.storm.truth import Plan, fleet
from wellos.embedded.account import unprivileged
from wellos.embedded.broker import running_broker
from wellos.embedded.child import Child, Spec
from wellos.embedded.postgres import running_postgres
from wellos.embedded.redis import running_redis
from wellos.embedded.server import Server, free_port, private_folder, running

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Ingest", "Platform", "until"]

ROOT = Path(__file__).parents[2]


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for something; TimeoutError names it."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}")
        time.sleep(0.1)


class Ingest:
    """One ingest process over its own folder."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        """Do not start it yet."""
        self.folder = private_folder(folder)
        self.env = {key: value for key, value in os.environ.items() if not key.startswith("WELLOS_")} | env
        self.env |= {"WELLOS_DATA_DIR": str(folder), "WELLOS_LOG_FORMAT": "json"}
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start it, again."""
        with (self.folder / "ingest.log").open("ab") as log:
            command = [sys.executable, "-m", "streaming"]
            self.process = subprocess.Popen(command, cwd=ROOT, env=self.env, stdout=log, stderr=log)
        self.starts += 1

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it; RuntimeError when it ended by itself."""
        if self.process is None or self.process.poll() is not None:
            raise RuntimeError(f"ingest in {self.folder} ended by itself; see its ingest.log")
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kill -9."""
        self.signal(signal.SIGKILL)
        assert self.process is not None
        self.process.wait()

    def stop(self, seconds: float) -> int:
        """SIGTERM; return its exit status, TimeoutExpired when it does not leave in time."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.wait(seconds)

    def resident_mb(self) -> float:
        """Resident memory now, in MiB; 0 while it does not run."""
        with suppress(OSError):
            assert self.process is not None
            for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) / 1024
        return 0.0


class _Sender:
    """One kind of source in its process."""

    def __init__(self, kind: str, options: dict[str, Any], log: Path) -> None:
        command = [sys.executable, "-m", "tests.storm.sources", kind, json.dumps(options)]
        with log.open("ab") as errors:
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.addresses: dict[str, Any] = self.line("ready")

    def line(self, word: str) -> dict[str, Any]:
        """Wait for the line that begins with this word, and return what it carries."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(word):
                found: dict[str, Any] = json.loads(line.removeprefix(word))
                return found
        raise RuntimeError(f"a source ended with status {self.process.wait()} and never said {word!r}")


class Platform:
    """Everything that runs."""

    def __init__(self, stack: ExitStack, folder: Path, plan: Plan, seed: int, *, postgres_bin: Path | None,
                 instances: int) -> None:  # fmt: skip
        """Start servers and sources, migrate, apply the fleet; ingest is not started yet."""
        self.plan, self.folder, self._seed = plan, folder, seed
        if postgres_bin is None:
            self.postgres = stack.enter_context(running_postgres(folder / "postgres"))
        else:
            self.postgres = stack.enter_context(running(_installed_postgres(folder / "postgres", postgres_bin)))
        self.redis = stack.enter_context(running_redis(folder / "redis"))
        self.broker = stack.enter_context(running_broker(folder / "mqtt", implementation="mosquitto"))
        parts = urlsplit(self.postgres.url)
        self.link = Proxy(parts.hostname or "", parts.port or 0)
        stack.callback(self.link.close)
        through = self.postgres.url.replace(f":{parts.port}/", f":{self.link.port}/")
        self.url = self.postgres.url
        env = {"WELLOS_DATABASE_URL": through, "WELLOS_REDIS_URL": self.redis.url}
        self.ingests = [Ingest(folder / f"ingest-{n}", env) for n in range(1, instances + 1)]
        for ingest in self.ingests:
            stack.callback(_end, ingest)
        self.senders: dict[str, _Sender] = {}
        stack.callback(self._stop_senders)
        for kind in ("modbus", "opcua"):
            self.senders[kind] = _Sender(kind, self._options(), folder / f"{kind}.log")
        text = fleet(plan, self.broker.url, self.senders["modbus"].addresses, self.senders["opcua"].addresses)
        (folder / "fleet.yaml").write_text(text)
        self.wellos("migrate")
        self.wellos("fleet", "apply", str(folder / "fleet.yaml"))

    def wellos(self, *arguments: str, ingest: Ingest | None = None) -> str:
        """Run the command against the database itself, as a user of that ingest; RuntimeError when it fails."""
        env = (ingest or self.ingests[0]).env | {"WELLOS_DATABASE_URL": self.url}
        done = subprocess.run([sys.executable, "-m", "wellos", *arguments], cwd=ROOT, env=env, check=False,
                              capture_output=True, text=True)  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"wellos {arguments[0]} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def connect(self) -> psycopg.Connection[Any]:
        """Connect to the database past the proxy."""
        return psycopg.connect(self.url, autocommit=True)

    def begin_mqtt(self) -> None:
        """Start the MQTT source: the sessions of its readers exist by now."""
        options = self._options() | {"broker": self.broker.url, "seed": self._seed}
        self.senders["mqtt"] = _Sender("mqtt", options, self.folder / "mqtt.log")

    def end_mqtt(self) -> dict[str, Any]:
        """Let the MQTT source finish, and return what it sent."""
        sender = self.senders.pop("mqtt")
        sender.process.send_signal(signal.SIGTERM)
        told = sender.line("end")
        sender.process.wait()
        return told

    def restart_opcua(self) -> None:
        """Stop the OPC UA server and start it again at its address."""
        url = next(iter(self.senders["opcua"].addresses.values()))
        sender = self.senders.pop("opcua")
        sender.process.kill()
        sender.process.wait()
        options = self._options() | {"port": urlsplit(url).port}
        self.senders["opcua"] = _Sender("opcua", options, self.folder / "opcua.log")

    def _options(self) -> dict[str, Any]:
        return {"sources": [list(asdict(item).values()) for item in self.plan.sources], "start_us": self.plan.start_us}

    def _stop_senders(self) -> None:
        for sender in self.senders.values():
            sender.process.kill()
            sender.process.wait()


def _end(ingest: Ingest) -> None:
    if ingest.process is not None and ingest.process.poll() is None:
        ingest.process.kill()
        ingest.process.wait()


def _installed_postgres(folder: Path, programs: Path) -> Server:
    """Return a server of a PostgreSQL that is installed here with TimescaleDB, over a new cluster."""
    folder, account = private_folder(folder), unprivileged()
    account.own(folder)
    data, port = folder / "data", free_port("127.0.0.1")
    command = (*account.prefix, str(programs / "initdb"), "-D", str(data), "-U", "wellos", "--auth=trust",
               "--locale=C.UTF-8", "--encoding=UTF8")  # fmt: skip
    Child(Spec("initdb", command, folder / "initdb.log", cwd=folder)).wait(120)
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "shared_preload_libraries": "timescaledb",
        "shared_buffers": "512MB",
        "max_connections": "100",
        "max_wal_size": "4GB",
        "max_locks_per_transaction": "512",
        "timescaledb.telemetry_level": "off",
        "timezone": "UTC",
    }
    server = (*account.prefix, str(programs / "postgres"), "-D", str(data))
    server += tuple(part for name, value in options.items() for part in ("-c", f"{name}={value}"))
    url = f"postgresql://wellos@127.0.0.1:{port}/wellos"
    spec = Spec("postgres", server, folder / "postgres.log", cwd=folder, stop_signal=signal.SIGINT, grace_s=60)
    return Server(spec, "127.0.0.1", port, url, partial(_ready, url))


def _ready(url: str) -> bool:
    try:
        with psycopg.connect(url.rpartition("/")[0] + "/postgres", autocommit=True, connect_timeout=2) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'wellos'").fetchone():
                connection.execute("CREATE DATABASE wellos")
        with psycopg.connect(url, autocommit=True, connect_timeout=2) as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.OperationalError:
        return False
    return True
