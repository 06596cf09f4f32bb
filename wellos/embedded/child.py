"""One child process of ours, always behind its guard: start it, see whether it lives, stop it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from wellos.embedded import guard
from wellos.errors import WellosError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["Child", "ChildDied", "Spec", "tail"]

_LOG_BYTES = 8 << 20
_KILL_MARGIN_S = 10.0


class ChildDied(WellosError):  # noqa: N818 - says what happened, as the reader of a log does
    """A child ended or stayed silent while it should have become ready; the message holds its last words."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run, where its output goes, and how it likes to be stopped."""

    name: str
    command: tuple[str, ...]
    log: Path
    env: Mapping[str, str] | None = field(default=None, repr=False)
    """The whole environment; None: ours. Hidden in `repr`, as it holds addresses with passwords."""
    cwd: Path | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0


def tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log, for an error message."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


class Child:
    """A running child. Whoever holds this object is the parent; when it goes, so does the child."""

    def __init__(self, spec: Spec, *, inherit: tuple[int, ...] = ()) -> None:
        """Start it. The guard, not the server, keeps the descriptors in `inherit` open as long as anything runs."""
        self.spec = spec
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        lifeline, self._lifeline = os.pipe()
        options = {
            "lifeline": lifeline,
            "log": str(spec.log),
            "log_bytes": _LOG_BYTES,
            "stop_signal": int(spec.stop_signal),
            "grace": spec.grace_s,
        }
        command = [sys.executable, "-I", "-S", guard.__file__, json.dumps(options), *spec.command]
        self.started = time.monotonic()
        try:
            self._process = subprocess.Popen(
                command,
                env=spec.env,
                cwd=spec.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(lifeline, *inherit),
            )
        finally:
            os.close(lifeline)

    @property
    def pid(self) -> int:
        """Process id of the guard."""
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """What the child left with, None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Pass a signal to the server."""
        self._process.send_signal(number)

    def begin_stop(self) -> None:
        """Ask it to stop, without waiting."""
        if self.exit_status is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        """Stop it and everything below it; return its exit status."""
        self.begin_stop()
        try:
            status = self._process.wait(self.spec.grace_s + _KILL_MARGIN_S)
        except subprocess.TimeoutExpired:
            for pid in guard.descendants(self.pid):
                os.kill(pid, signal.SIGKILL)
            self._process.kill()
            status = self._process.wait()
        self.close()
        return status

    def close(self) -> None:
        """Let go of the lifeline; a guard that still runs stops its server."""
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def wait(self, timeout_s: float) -> int:
        """Wait for a child that ends by itself; ChildDied if it does not, or fails."""
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            self.stop()
            raise ChildDied(f"{self.spec.name} did not finish within {timeout_s:g} s; {self._words()}") from error
        self.close()
        if status:
            raise ChildDied(f"{self.spec.name} failed with status {status}; {self._words()}")
        return status

    def wait_ready(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Wait until `ready()`; ChildDied if the child ends first or takes longer than `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            if self.exit_status is not None:
                raise ChildDied(f"{self.spec.name} ended with status {self.exit_status}; {self._words()}")
            if time.monotonic() > deadline:
                raise ChildDied(f"{self.spec.name} was not ready within {timeout_s:g} s; {self._words()}")
            time.sleep(0.05)

    def _words(self) -> str:
        words = tail(self.spec.log)
        return f"its log, {self.spec.log}, ends with:\n{words}" if words else f"its log, {self.spec.log}, is empty"
