"""Runs one server so that it can never outlive the platform: the small process between the supervisor and each child.

Started by path with the standard library alone (`python -I -S guard.py OPTIONS COMMAND...`), so it is up in a few
milliseconds. Its promises, each kept by the kernel rather than by anybody's good behaviour:

* it leads its own session, so a Ctrl-C typed at the supervisor reaches no server behind its back;
* it adopts every orphan among its descendants (`PR_SET_CHILD_SUBREAPER`): none can hide by forking twice;
* it sees the supervisor die, even by kill -9, twice: its lifeline pipe closes and `PR_SET_PDEATHSIG` fires;
* SIGTERM starts the stop: the server's own stop signal, a grace period, then SIGTERM and at last SIGKILL to every
  descendant. It leaves when none is left. Other signals are passed on as they are;
* the server's output goes to one log file that is rotated at a size, so it can fill no disk.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from pathlib import Path

__all__ = ["descendants", "main"]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PASSED_ON = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_PARENT_DIED = signal.SIGRTMIN
_SWEEP_S = 2.0
"""How long stragglers have between SIGTERM and SIGKILL once the server itself is gone."""


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process; OSError when the kernel refuses."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def adopt_orphans() -> None:
    """Make this process the parent of every orphan among its descendants."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def descendants(root: int) -> list[int]:
    """Process ids below `root`, children before grandchildren, from one reading of /proc."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):  # it ended while we looked
                stat = (entry / "stat").read_text(errors="replace")
                children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


class Log:
    """One log file and its predecessor, each at most `limit` bytes."""

    def __init__(self, path: str, limit: int) -> None:
        """Append to what is there."""
        self._path, self._limit = path, limit
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def write(self, data: bytes) -> None:
        """Write, after a rotation if it would not fit. A full disk loses log lines, never the server."""
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._limit:
                Path(self._path).replace(self._path + ".1")
                fresh = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
                os.close(self._file)
                self._file, self._size = fresh, 0
            self._size += os.write(self._file, data)


class Guard:
    """The event loop over the lifeline, the signals, the server's output and the clock."""

    def __init__(self, options: dict[str, object], command: list[str]) -> None:
        """Take over signals before anything is started, so that none is missed."""
        self._parent = os.getppid()
        self._lifeline = int(str(options["lifeline"]))
        self._grace = float(str(options["grace"]))
        self._stop_signal = int(str(options["stop_signal"]))
        self._log = Log(str(options["log"]), int(str(options["log_bytes"])))
        self._pending: list[int] = []
        self._wake_read, wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        for number in (*_PASSED_ON, signal.SIGTERM, signal.SIGCHLD, _PARENT_DIED):
            signal.signal(number, lambda received, _frame: self._pending.append(received))
        adopt_orphans()
        prctl(_PR_SET_PDEATHSIG, _PARENT_DIED)
        self._deadline: float | None = None
        self._stopping = False
        self._status: int | None = None
        self._server = self._start(command)

    def _start(self, command: list[str]) -> int:
        read, write = os.pipe()
        os.set_blocking(read, False)
        self._output = read
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            # If this guard itself is killed, the server goes with it; its own children the supervisor adopts.
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, self._stop_signal),  # noqa: PLW1509 - one thread only
        )
        os.close(write)
        return process.pid

    def run(self) -> int:
        """Watch until neither the server nor any descendant is left; return the server's exit status."""
        selector = selectors.DefaultSelector()
        for fd in (self._lifeline, self._wake_read, self._output):
            selector.register(fd, selectors.EVENT_READ)
        while self._reap():
            for key, _ in selector.select(self._timeout()):
                if key.fd == self._output:
                    if not self._copy_output():
                        selector.unregister(self._output)
                elif key.fd == self._lifeline:
                    selector.unregister(self._lifeline)
                    self._stop()
                else:
                    os.read(self._wake_read, 4096)
            while self._pending:
                self._handle(self._pending.pop(0))
            self._enforce()
        while self._copy_output():
            pass
        status = self._status or 0
        return status if status >= 0 else 128 - status

    def _timeout(self) -> float | None:
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def _copy_output(self) -> bool:
        try:
            data = os.read(self._output, 65536)
        except BlockingIOError:
            return False
        self._log.write(data)
        return bool(data)

    def _handle(self, number: int) -> None:
        if number == signal.SIGTERM or (number == _PARENT_DIED and os.getppid() != self._parent):
            self._stop()
        elif number in _PASSED_ON:
            self._send(self._server, number)

    def _stop(self) -> None:
        if not self._stopping and self._status is None:
            self._send(self._server, self._stop_signal)
            self._deadline = time.monotonic() + self._grace
        self._stopping = True

    def _enforce(self) -> None:
        """After the deadline: kill whatever is left, and look again shortly."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            for pid in descendants(os.getpid()):
                self._send(pid, signal.SIGKILL)
            self._deadline = time.monotonic() + 0.2

    def _reap(self) -> bool:
        """Collect the dead; when the server is among them, tell the rest to go. False when nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self._server:
                self._status = os.waitstatus_to_exitcode(status)
                for left in descendants(os.getpid()):
                    self._send(left, signal.SIGTERM)
                self._deadline = time.monotonic() + _SWEEP_S

    @staticmethod
    def _send(pid: int, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def main() -> int:
    """Run the command in `sys.argv` under guard."""
    options, command = json.loads(sys.argv[1]), sys.argv[2:]
    try:
        guard = Guard(options, command)
    except OSError as error:
        Log(options["log"], options["log_bytes"]).write(f"cannot start {command[0]}: {error}\n".encode())
        return 127
    return guard.run()


if __name__ == "__main__":
    sys.exit(main())
