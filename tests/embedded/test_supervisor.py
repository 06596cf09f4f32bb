"""The supervisor restarts what crashes, stops in order, and collects what a killed guard leaves behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.waiting import eventually
from wellos.embedded.child import ChildDied, Spec
from wellos.embedded.guard import descendants
from wellos.embedded.server import Server
from wellos.embedded.state import DataLock
from wellos.embedded.supervisor import Part, StopRequested, Supervisor
from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLEEPER = "print('ready', flush=True); import time; time.sleep(600)"


class Notes:
    """Keeps what is reported."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def event(self, text: str) -> None:
        self.events.append(text)

    def refresh(self, *, force: bool = False) -> None:
        pass


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def supervisor(tmp_path: Path, notes: Notes) -> Iterator[Supervisor]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    lock = DataLock(tmp_path)
    made = Supervisor(lock, notes)
    yield made
    made.stop()
    lock.release()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def part(folder: Path, name: str, code: str = SLEEPER, group: int = 0) -> Part:
    log = folder / f"{name}.log"

    def prepare() -> Server:
        spec = Spec(name, (sys.executable, "-c", code), log, grace_s=1)
        return Server(spec, "127.0.0.1", 0, "", lambda: log.exists() and "ready" in log.read_text())

    return Part(name, prepare, stop_group=group)


def watch_until(supervisor: Supervisor, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90

    def each() -> None:
        assert time.monotonic() < deadline, "it never came true"
        if check():
            supervisor._stop = True

    supervisor.watch(each)


def test_a_crashed_part_is_started_again_and_that_is_said(tmp_path: Path, supervisor: Supervisor, notes: Notes) -> None:
    crashing = supervisor.add(part(tmp_path, "server"))
    supervisor.wait_ready([crashing], 90)
    assert crashing.child is not None
    [first] = descendants(crashing.child.pid)
    os.kill(first, signal.SIGKILL)
    watch_until(supervisor, lambda: crashing.restarts == 1 and crashing.state == "up")
    assert any("server ended with status 137" in event for event in notes.events)
    assert crashing.child.exit_status is None
    assert descendants(crashing.child.pid) != [first]


def test_a_part_that_keeps_crashing_waits_longer_each_time(tmp_path: Path, supervisor: Supervisor) -> None:
    broken = supervisor.add(part(tmp_path, "server", "print('ready'); raise SystemExit(3)"))
    watch_until(supervisor, lambda: broken.restarts == 1 and broken.state == "restarting")
    assert broken.backoff_s == 4
    assert "status 3" in broken.error


def test_what_a_killed_guard_leaves_is_collected(tmp_path: Path, supervisor: Supervisor) -> None:
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
    orphaned = supervisor.add(part(tmp_path, "server", deaf))
    supervisor.wait_ready([orphaned], 90)
    assert orphaned.child is not None
    guard = orphaned.child.pid
    [server] = descendants(guard)
    os.kill(guard, signal.SIGKILL)
    watch_until(supervisor, lambda: orphaned.restarts == 1 and orphaned.state == "up")
    eventually(lambda: not psutil.pid_exists(server))


def test_a_part_that_ends_while_starting_is_one_error_with_its_last_words(
    tmp_path: Path, supervisor: Supervisor
) -> None:
    broken = supervisor.add(part(tmp_path, "server", "raise SystemExit('no such option')"))
    with pytest.raises(ChildDied, match="no such option"):
        supervisor.wait_ready([broken], 90)


def test_parts_stop_in_reverse_order_of_their_groups(tmp_path: Path, supervisor: Supervisor, notes: Notes) -> None:
    parts = [supervisor.add(part(tmp_path, name, group=group)) for group, name in enumerate(("first", "second"))]
    supervisor.wait_ready(parts, 90)
    supervisor.stop()
    stopped = [event.split()[0] for event in notes.events if "stopped" in event]
    assert stopped == ["second", "first"]


def test_a_signal_while_starting_ends_the_wait(tmp_path: Path, supervisor: Supervisor) -> None:
    slow = supervisor.add(part(tmp_path, "server", "import time; time.sleep(600)"))
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(StopRequested):
        supervisor.wait_ready([slow], 90)


def test_a_restart_that_cannot_be_prepared_is_tried_again(tmp_path: Path, supervisor: Supervisor, notes: Notes) -> None:
    good = part(tmp_path, "server")
    prepare = good.prepare
    assert prepare is not None

    def fail() -> Server:
        good.prepare = prepare
        raise ConfigurationError([Problem("the folder is gone", "Bring it back.")])

    supervisor.add(good)
    supervisor.wait_ready([good], 90)
    good.prepare = fail
    assert good.child is not None
    os.kill(good.child.pid, signal.SIGKILL)
    watch_until(supervisor, lambda: good.restarts == 2 and good.state == "up")
    assert any("the folder is gone" in event for event in notes.events)
