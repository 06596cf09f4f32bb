"""A guard lets nothing outlive its supervisor, whatever the server does and however the supervisor ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.waiting import eventually
from wellos.embedded.child import Child, ChildDied, Spec
from wellos.embedded.guard import Log, descendants

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]
TREE = """
import os, signal, subprocess, sys, time
# a server with a deaf child, and a grandchild that leaves the session and the family by forking twice
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(600)
"""
SLEEPER = "print('ready', flush=True); import time; time.sleep(600)"
SUPERVISOR = """
import sys, time
from pathlib import Path
from wellos.embedded.child import Child, Spec
child = Child(Spec("tree", (sys.executable, "-c", sys.argv[1]), Path(sys.argv[2]), grace_s=1))
print(child.pid, flush=True)
time.sleep(600)
"""


def python(code: str, log: Path, grace_s: float = 10) -> Spec:
    return Spec("test", (sys.executable, "-c", code), log, grace_s=grace_s)


def said(log: Path, *words: str) -> Callable[[], bool]:
    return lambda: log.exists() and all(word in log.read_text() for word in words)


def test_output_goes_to_the_log_and_the_status_is_the_servers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(python("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)", log))
    with pytest.raises(ChildDied, match="failed with status 7"):
        child.wait(90)
    assert set(log.read_text().split()) == {"out", "err"}


def test_a_program_that_is_not_there_is_said_in_the_log(tmp_path: Path) -> None:
    with pytest.raises(ChildDied, match="cannot start /nowhere/server"):
        Child(Spec("test", ("/nowhere/server",), tmp_path / "log")).wait(90)


def test_stop_ends_the_whole_tree(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(python(TREE, log, grace_s=1))
    eventually(said(log, "ready", "deaf"))
    tree = [child.pid, *descendants(child.pid)]
    assert len(tree) == 4
    child.stop()
    eventually(lambda: not [pid for pid in tree if psutil.pid_exists(pid)])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "terminated"])
def test_the_tree_goes_when_the_supervisor_dies(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, TREE, str(log)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        guard = int(supervisor.stdout.readline())
    eventually(said(log, "ready", "deaf"))
    tree = [guard, *descendants(guard)]
    supervisor.send_signal(number)
    supervisor.wait()
    eventually(lambda: not [pid for pid in tree if psutil.pid_exists(pid)])


def test_the_server_goes_when_the_guard_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(python(SLEEPER, log))
    eventually(said(log, "ready"))
    [server] = descendants(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    eventually(lambda: not psutil.pid_exists(server) or psutil.Process(server).status() == psutil.STATUS_ZOMBIE)
    child.stop()


def test_signals_are_passed_on_and_stop_uses_the_servers_own(tmp_path: Path) -> None:
    log = tmp_path / "log"
    code = """
import signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: print("reload", flush=True))
signal.signal(signal.SIGINT, lambda *_: sys.exit("asked"))
print("ready", flush=True)
while True: time.sleep(1)
"""
    child = Child(Spec("test", (sys.executable, "-c", code), log, stop_signal=signal.SIGINT))
    eventually(said(log, "ready"))
    child.signal(signal.SIGHUP)
    eventually(said(log, "reload"))
    assert child.stop() == 1
    assert "asked" in log.read_text()


def test_closing_the_lifeline_stops_the_server(tmp_path: Path) -> None:
    log = tmp_path / "log"
    child = Child(python(SLEEPER, log))
    eventually(said(log, "ready"))
    child.close()
    eventually(lambda: child.exit_status is not None)


def test_the_log_is_rotated_at_its_size(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(str(path), 100)
    for number in range(30):
        log.write(f"line {number:04}\n".encode())
    kept = ((tmp_path / "log.1").read_text() + path.read_text()).splitlines()
    assert path.stat().st_size <= 100
    assert (tmp_path / "log.1").stat().st_size <= 100
    assert kept == [f"line {number:04}" for number in range(30 - len(kept), 30)]


def test_a_server_that_never_becomes_ready_is_one_error_with_its_last_words(tmp_path: Path) -> None:
    child = Child(python("print('still busy', flush=True); import time; time.sleep(600)", tmp_path / "log"))
    eventually(said(tmp_path / "log", "still busy"))
    with pytest.raises(ChildDied, match="still busy"):
        child.wait_ready(lambda: False, 0.2)
    child.stop()
