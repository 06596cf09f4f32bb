"""Keeps a set of parts running: starts them, waits until they are ready, restarts what crashes, stops all in order."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from wellos.clock import WallClock
from wellos.embedded.child import Child, ChildDied, tail
from wellos.embedded.guard import adopt_orphans, descendants
from wellos.errors import WellosError
from wellos.logs import hide_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from wellos.embedded.server import Server
    from wellos.embedded.state import DataLock

__all__ = ["Part", "Report", "StopRequested", "Supervisor"]

_TICK_S = 0.1
_FIRST_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
_STEADY_S = 60.0
"""A part that ran this long has recovered: its next crash waits the first backoff again."""


class StopRequested(WellosError):  # noqa: N818 - not a fault
    """Somebody asked for the end while something was still starting."""


class Report(Protocol):
    """Where the supervisor says what happens."""

    def event(self, text: str) -> None:
        """Say that something happened."""
        ...

    def refresh(self, *, force: bool = False) -> None:
        """Bring what is shown up to date; called often."""
        ...


@dataclass(slots=True)
class Part:
    """One part of the platform, ours or a server that a setting names."""

    name: str
    prepare: Callable[[], Server] | None
    """None: a server that is not ours to start."""
    address: str = ""
    """For people: without a password."""
    note: str = ""
    stop_group: int = 0
    """Groups stop from the highest down; the parts of one group together."""
    state: Literal["external", "starting", "up", "restarting", "stopped"] = "starting"
    since_us: int = 0
    restarts: int = 0
    error: str = ""
    child: Child | None = field(default=None, repr=False)
    server: Server | None = field(default=None, repr=False)
    backoff_s: float = _FIRST_BACKOFF_S
    retry_at: float = 0.0

    def enter(self, state: Literal["external", "starting", "up", "restarting", "stopped"]) -> None:
        """Change the state and note when."""
        self.state, self.since_us = state, WallClock().micros()

    def describe(self) -> dict[str, Any]:
        """Return what `state.json` says of it."""
        return {
            "name": self.name,
            "state": self.state,
            "address": self.address,
            "since_us": self.since_us,
            "restarts": self.restarts,
            "error": self.error,
            "note": self.note,
            "pid": self.child.pid if self.child is not None else None,
            "log": str(self.server.spec.log) if self.server is not None else None,
        }


class Supervisor:
    """The parts of one platform and the loop that watches them."""

    def __init__(self, lock: DataLock, report: Report) -> None:
        """Become the parent of every orphan, and stop on SIGTERM, SIGINT and SIGHUP."""
        self.parts: list[Part] = []
        self._lock, self._report = lock, report
        self._stop = False
        self._others = set(descendants(os.getpid()))  # started before us by whoever uses us: not ours to end
        adopt_orphans()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._request_stop)

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stop

    def _request_stop(self, _number: int, _frame: object) -> None:
        self._stop = True

    def check_stop(self) -> None:
        """Raise StopRequested when somebody asked for the end."""
        if self._stop:
            raise StopRequested("stopped while starting")

    def add(self, part: Part) -> Part:
        """Take a part on and start it; it need not be ready yet."""
        self.parts.append(part)
        if part.prepare is None:
            part.enter("external")
        else:
            self._start(part)
        return part

    def wait_ready(self, parts: Iterable[Part], timeout_s: float = 120) -> None:
        """Wait until parts are ready; ChildDied for the first that ends, or is not ready in time."""
        waiting = [part for part in parts if part.state == "starting"]
        deadline = time.monotonic() + timeout_s
        while waiting:
            self.check_stop()
            for part in tuple(waiting):
                if self._became_ready(part):
                    waiting.remove(part)
                elif part.child is not None and part.child.exit_status is not None:
                    raise ChildDied(f"{part.name} ended while starting; {_last_words(part)}")
                elif time.monotonic() > deadline:
                    raise ChildDied(f"{part.name} was not ready within {timeout_s:g} s; {_last_words(part)}")
            self._report.refresh()
            time.sleep(_TICK_S)

    def watch(self, each: Callable[[], None]) -> None:
        """Keep everything running until somebody asks for the end. `each` is called every tick."""
        while not self._stop:
            self.look_after_all()
            each()
            self._report.refresh()
            time.sleep(_TICK_S)

    def look_after_all(self) -> None:
        """Restart what has ended, and see what has become ready."""
        for part in self.parts:
            self._look_after(part)

    def stop(self) -> None:
        """Stop every child in reverse order; the parts of one group at the same time."""
        for group in sorted({part.stop_group for part in self.parts}, reverse=True):
            members = [part for part in self.parts if part.stop_group == group and part.child is not None]
            for part in reversed(members):
                assert part.child is not None  # noqa: S101 - filtered above
                part.child.begin_stop()
            for part in reversed(members):
                assert part.child is not None  # noqa: S101 - filtered above
                began = time.monotonic()
                part.child.stop()
                part.child = None
                part.enter("stopped")
                self._report.event(f"{part.name} stopped ({time.monotonic() - began:.1f} s)")
                self._report.refresh()
        self._kill_orphans()

    def _start(self, part: Part) -> None:
        assert part.prepare is not None  # noqa: S101 - callers check
        part.enter("starting")
        part.server = part.prepare()
        part.address = hide_secrets(part.server.url)
        part.note = part.note or part.server.note
        part.child = Child(part.server.spec, inherit=(self._lock.fileno(),))

    def _became_ready(self, part: Part) -> bool:
        if part.server is None or part.child is None or not part.server.ready() or part.child.exit_status is not None:
            return False
        took = time.monotonic() - part.child.started
        part.enter("up")
        part.error = ""
        where = f" at {part.address}" if part.address else ""
        self._report.event(f"{part.name} is up{where} ({took:.1f} s)")
        if part.note:
            self._report.event(f"{part.name}: {part.note}")
        return True

    def _look_after(self, part: Part) -> None:
        child = part.child
        if part.state == "restarting":
            if time.monotonic() >= part.retry_at:
                part.restarts += 1
                self._restart(part)
        elif child is None:
            return
        elif child.exit_status is not None:
            if part.state == "up" and time.monotonic() - child.started > _STEADY_S:
                part.backoff_s = _FIRST_BACKOFF_S
            self._crashed(part, f"ended with status {child.exit_status}", _last_words(part))
            child.close()
            if child.exit_status < 0:  # the guard itself was killed: what it guarded is ours now
                self._kill_orphans()
        elif part.state == "starting":
            self._became_ready(part)

    def _restart(self, part: Part) -> None:
        try:
            self._start(part)
        except (WellosError, OSError) as error:
            self._crashed(part, "cannot be started", str(error))

    def _crashed(self, part: Part, reason: str, detail: str) -> None:
        part.error = reason
        part.enter("restarting")
        part.retry_at = time.monotonic() + part.backoff_s
        self._report.event(f"{part.name} {reason}; {detail}\nstarting {part.name} again in {part.backoff_s:g} s")
        part.backoff_s = min(part.backoff_s * 2, _LONGEST_BACKOFF_S)

    def _kill_orphans(self) -> None:
        """End what a killed guard left to us, and collect it."""
        ours = {part.child.pid for part in self.parts if part.child is not None and part.child.exit_status is None}
        kept = {pid for root in ours | self._others for pid in (root, *descendants(root))}
        for pid in set(descendants(os.getpid())) - kept:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _last_words(part: Part) -> str:
    if part.server is None:
        return "it was never prepared"
    log = part.server.spec.log
    words = tail(log, 6)
    return f"its log, {log}, ends with:\n{words}" if words else f"its log, {log}, is empty"
