"""The data folder's lock, what a running platform writes there, its ports and its clock."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wellos.clock import from_micros, parse_clock, to_micros
from wellos.embedded.ports import Ports
from wellos.embedded.scaled import ClockFile, _at
from wellos.embedded.server import free_port
from wellos.embedded.state import DataLock, holder, read_addresses, read_state, write_state
from wellos.errors import ConfigurationError
from wellos.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
HOLD = """
import subprocess, sys, time
from pathlib import Path
from wellos.embedded.state import DataLock
lock = DataLock(Path(sys.argv[1]))
if len(sys.argv) > 2:  # what a guard is: it has the lock from its parent, and outlives it for a moment
    subprocess.Popen(["sleep", sys.argv[2]], pass_fds=[lock.fileno()], stdout=subprocess.DEVNULL)
print("held", flush=True)
time.sleep(600)
"""


def hold(folder: Path, *more: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), *more], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
    return process


def test_a_second_hold_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    process = hold(tmp_path)
    try:
        assert holder(tmp_path) == process.pid
        with pytest.raises(ConfigurationError, match=f"in use by process {process.pid}") as caught:
            DataLock(tmp_path)
        assert caught.value.exit_status == 2
    finally:
        process.kill()
        process.wait()
    assert holder(tmp_path) is None
    DataLock(tmp_path).release()


def test_the_guards_of_a_killed_supervisor_are_waited_for(tmp_path: Path) -> None:
    process = hold(tmp_path, "2")
    process.kill()
    process.wait()
    assert holder(tmp_path) is None
    with pytest.raises(ConfigurationError, match="killed platform"):
        DataLock(tmp_path, wait_s=0.1)
    DataLock(tmp_path, wait_s=20).release()


def test_the_addresses_of_a_running_platform_fill_what_is_set_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {"database_url": "postgresql://u:p@127.0.0.1:1/db", "redis_url": "redis://127.0.0.1:2/0"}
    lock = DataLock(tmp_path)
    write_state(tmp_path, {"pid": os.getpid(), "settings": chosen})
    monkeypatch.setenv("WELLOS_REDIS_URL", "redis://given:6379/0")
    settings = load_settings(data_dir=tmp_path)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == chosen["database_url"]
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://given:6379/0"
    lock.release()
    assert load_settings(data_dir=tmp_path).database_url is None


def test_state_is_private_and_nobodys_when_nothing_runs(tmp_path: Path) -> None:
    lock = DataLock(tmp_path)
    write_state(tmp_path, {"pid": os.getpid(), "settings": {"clock": "wall"}})
    assert stat.S_IMODE((tmp_path / "state.json").stat().st_mode) == 0o600
    assert read_addresses(tmp_path) == {"clock": "wall"}
    lock.release()
    assert read_state(tmp_path) is None
    assert read_addresses(tmp_path) == {}


def test_what_an_earlier_run_left_is_not_taken_for_the_present(tmp_path: Path) -> None:
    write_state(tmp_path, {"pid": 1, "settings": {"clock": "wall"}})
    lock = DataLock(tmp_path)
    assert read_state(tmp_path) is None
    lock.release()


def test_ports_stay_the_same_from_start_to_start(tmp_path: Path) -> None:
    first = Ports(tmp_path, "127.0.0.1")
    chosen = [first.choose("redis"), first.choose("mqtt")]
    assert len(set(chosen)) == 2
    again = Ports(tmp_path, "127.0.0.1")
    assert [again.choose("redis"), again.choose("mqtt")] == chosen
    with socket.create_server(("127.0.0.1", chosen[0])):
        assert Ports(tmp_path, "127.0.0.1").choose("redis") != chosen[0]


def test_a_preferred_port_is_taken_when_free(tmp_path: Path) -> None:
    port = free_port("127.0.0.1")
    assert Ports(tmp_path, "127.0.0.1").choose("dagster", preferred=port) == port


def test_a_port_that_was_set_and_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ConfigurationError, match="WELLOS_REDIS_PORT"):
            Ports(tmp_path, "127.0.0.1").choose("redis", port)


def test_the_clock_is_the_machines_unless_asked(tmp_path: Path) -> None:
    assert ClockFile(tmp_path).choose("wall", None) == "wall"


def test_a_faster_clock_starts_in_the_past_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    first = ClockFile(tmp_path).choose("wall", 60)
    ClockFile(tmp_path).note(first)
    shown = parse_clock(first).micros()
    assert timedelta(days=29) < datetime.now(UTC) - parse_clock(first).now() < timedelta(days=30)
    second = parse_clock(ClockFile(tmp_path).choose("wall", 60)).micros()
    assert shown <= second <= shown + to_micros(datetime(1970, 1, 1, 0, 10, tzinfo=UTC))


def test_a_replay_starts_where_its_recordings_do(tmp_path: Path) -> None:
    start = datetime(2017, 3, 1, 12, tzinfo=UTC)
    clock = parse_clock(ClockFile(tmp_path).choose("wall", 10, start))
    assert start <= clock.now() < start + timedelta(minutes=10)


def test_a_folder_that_has_reached_the_present_cannot_go_back(tmp_path: Path) -> None:
    ClockFile(tmp_path).note("wall")
    with pytest.raises(ConfigurationError, match="run backwards"):
        ClockFile(tmp_path).choose("wall", 60)
    with pytest.raises(ConfigurationError, match="run backwards"):
        ClockFile(tmp_path).choose("2020-01-01T00:00:00Z@2026-01-01T00:00:00Z*1", None)


def test_two_wishes_for_the_clock_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="both choose the clock"):
        ClockFile(tmp_path).choose("2020-01-01T00:00:00Z@2026-01-01T00:00:00Z*2", 2)


class Machine:
    """A machine's clock that a test turns."""

    def __init__(self) -> None:
        self.us = to_micros(datetime(2026, 11, 21, tzinfo=UTC))

    def micros(self) -> int:
        return self.us

    def now(self) -> datetime:
        return from_micros(self.us)

    def monotonic(self) -> float:
        return self.us / 1e6


@given(
    starts=st.lists(
        st.tuples(
            st.sampled_from([2.0, 10.0, 60.0, 600.0]),
            st.floats(0, 3600),  # seconds it ran
            st.floats(0, 2),  # seconds between its last note and its end
            st.floats(0, 100_000),  # seconds until the next start
        ),
        min_size=2,
        max_size=5,
    )
)
def test_platform_time_never_runs_backwards(
    tmp_path_factory: pytest.TempPathFactory, starts: list[tuple[float, float, float, float]]
) -> None:
    machine = Machine()
    file = ClockFile(tmp_path_factory.mktemp("clock"), machine)
    reached = 0
    for speed, ran, unnoted, stopped in starts:
        try:
            clock = file.choose("wall", speed)
        except ConfigurationError:
            return  # it has caught up with the machine
        assert _at(parse_clock(clock), machine.us) >= reached
        machine.us += int(ran * 1e6)
        file.note(clock)
        machine.us += int(unnoted * 1e6)
        reached = _at(parse_clock(clock), machine.us)
        machine.us += int(stopped * 1e6)


def test_a_data_folder_that_cannot_be_made_is_said_plainly() -> None:
    with pytest.raises(ConfigurationError, match="WELLOS_DATA_DIR"):
        DataLock(Path("/proc/nowhere"))
