"""The whole platform as a user runs it: up, seen, broken, killed, up again, down."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import pytest
import redis

from tests.waiting import eventually
from wellos.embedded.guard import descendants
from wellos.embedded.state import holder, read_state

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
NOTHING: dict[str, Any] = {"parts": []}
PARTS = {"postgres", "redis", "broker", "code-server", "dagster", "daemon", "simulator", "ingest"}


class Platform:
    """`wellos` on one data folder, as in a terminal of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "data"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("WELLOS_", "DAGSTER_"))}
        self.environment = {**kept, "PYTHONPATH": str(ROOT), "WELLOS_DATA_DIR": str(self.folder)}
        self.cwd = folder

    def wellos(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "wellos", *arguments],
            env=self.environment,
            cwd=self.cwd,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def up(self, *arguments: str) -> None:
        done = self.wellos("up", "--detach", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.wellos("status", "--json").stdout)
        return found

    @property
    def state(self) -> dict[str, Any]:
        state = read_state(self.folder)
        assert state is not None
        return state

    def part(self, name: str) -> dict[str, Any]:
        return next(part for part in self.state["parts"] if part["name"] == name)

    def came_back(self, name: str, restarts: int) -> bool:
        part = self.part(name)
        return bool(part["restarts"] > restarts and part["state"] == "up")

    def all_up(self) -> bool:
        return self.wellos("status").returncode == 0

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        return psycopg.connect(self.state["settings"]["database_url"], autocommit=True)

    def processes(self) -> set[int]:
        """Everything that runs for this folder, found by its command line and below the supervisor."""
        pid = holder(self.folder)
        named = {one.pid for one in psutil.process_iter(["cmdline"]) if str(self.folder) in " ".join(_words(one))}
        return named | ({pid, *descendants(pid)} if pid is not None else set())


def _words(process: psutil.Process) -> list[str]:
    return process.info["cmdline"] or []


def _alive(pids: set[int]) -> set[int]:
    """Those that still run; one that only waits for its parent to notice is gone."""
    return {one.pid for one in psutil.process_iter(["status"]) if one.info["status"] != psutil.STATUS_ZOMBIE} & pids


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    made = Platform(tmp_path_factory.mktemp("stack"))
    try:
        yield made
    finally:
        made.wellos("down")


@pytest.fixture
def platform(stack: Platform) -> Platform:
    """Run the one platform of this module, which a test before may have stopped."""
    if holder(stack.folder) is None:
        stack.up("--history", "1h")
    eventually(stack.all_up)
    return stack


def test_every_part_is_up_and_says_where(platform: Platform) -> None:
    done = platform.wellos("status")
    assert done.returncode == 0, done.stdout
    assert "***" in done.stdout
    found = platform.status()
    assert found["up"]
    assert {part["name"] for part in found["parts"]} >= PARTS
    assert all(part["since"] for part in found["parts"])


def test_passwords_stay_private(platform: Platform) -> None:
    password = (platform.folder / "postgres" / "password").read_text().strip()
    assert stat.S_IMODE((platform.folder / "state.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(platform.folder.stat().st_mode) == 0o700
    assert password not in platform.wellos("status").stdout
    assert password not in platform.wellos("status", "--json").stdout
    lines = [" ".join(_words(one)) for one in psutil.process_iter(["cmdline"])]
    assert not [line for line in lines if password in line]
    assert not [log for log in (platform.folder / "logs").iterdir() if password in log.read_text(errors="replace")]


def test_a_second_up_is_refused_with_the_pid(platform: Platform) -> None:
    done = platform.wellos("up")
    assert done.returncode == 2
    assert f"in use by process {platform.state['pid']}" in done.stderr
    assert "Traceback" not in done.stderr


def test_readings_of_every_connection_arrive(platform: Platform) -> None:
    def flowing() -> bool:
        found = platform.status()["figures"]
        rates = [one["readings_per_s"] for one in found["connections"] if one["state"] == "connected"]
        return len(rates) == len(found["connections"]) >= 3 and all(rates)

    eventually(flowing)
    with platform.connect() as connection:
        stored = connection.execute("SELECT count(*) FROM readings WHERE time > now() - interval '1 minute'").fetchone()
    assert stored is not None
    assert stored[0] > 0


def test_other_commands_find_the_database(platform: Platform) -> None:
    done = platform.wellos("migrate", "--status")
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout


def test_a_part_that_hangs_is_not_up(platform: Platform) -> None:
    [server] = descendants(platform.part("redis")["pid"])
    os.kill(server, signal.SIGSTOP)
    try:
        done = platform.wellos("status")
        assert done.returncode == 1
        assert "down" in next(line for line in done.stdout.splitlines() if "redis" in line)
    finally:
        os.kill(server, signal.SIGCONT)
    eventually(platform.all_up)


def test_a_part_killed_with_all_its_processes_comes_back(platform: Platform) -> None:
    for name in ("redis", "postgres"):
        before = platform.part(name)["restarts"]
        for pid in descendants(platform.part(name)["pid"]):
            with suppress(ProcessLookupError):  # a server's children go with it
                os.kill(pid, signal.SIGKILL)
        eventually(partial(platform.came_back, name, before))
    eventually(lambda: platform.status()["up"])


def test_kill_9_leaves_nothing_and_the_next_start_has_the_data(platform: Platform) -> None:
    with platform.connect() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    running = platform.processes()
    assert len(running) > 2 * len(PARTS)
    before = platform.state["settings"]
    os.kill(platform.state["pid"], signal.SIGKILL)
    platform.up()  # waits for what the guards still stop
    assert not _alive(running)
    assert platform.state["settings"] == before
    with platform.connect() as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_down_stops_everything(platform: Platform) -> None:
    running = platform.processes()
    done = platform.wellos("down")
    assert done.returncode == 0, done.stderr
    assert not _alive(running)
    assert not platform.processes()
    assert platform.wellos("status").returncode == 1
    assert "nothing runs" in platform.wellos("down").stdout
    log = (platform.folder / "logs" / "postgres.log").read_text()
    assert log.rstrip().endswith("database system is shut down")


def test_ctrl_c_while_starting_stops_what_was_started_and_nothing_else(stack: Platform, redis_url: str) -> None:
    platform = stack
    platform.wellos("down")
    process = subprocess.Popen(
        [sys.executable, "-m", "wellos", "up"],
        env={**platform.environment, "WELLOS_REDIS_URL": redis_url},
        cwd=platform.cwd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    eventually(
        lambda: "postgres" in {one["name"] for one in (read_state(platform.folder) or NOTHING)["parts"] if one["pid"]}
    )
    assert platform.part("redis")["state"] == "external"
    running = platform.processes()
    assert not [one for one in running if "redis-server" in " ".join(psutil.Process(one).cmdline())]
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 0, said
    assert "postgres stopped" in said
    assert "Traceback" not in said
    assert not _alive(running)
    with redis.Redis.from_url(redis_url) as client:
        assert client.ping()
