"""Asks every part at once and waits ten seconds at most: what has not answered by then is down."""

from __future__ import annotations

import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from wellos.clock import WallClock
from wellos.errors import WellosError
from wellos.health import parts
from wellos.health.database import findings
from wellos.health.report import Health, Part, Runs
from wellos.storage import warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from wellos.health.database import Findings
    from wellos.settings import Settings

__all__ = ["DEADLINE_S", "examine"]

DEADLINE_S = 10.0


def examine(settings: Settings, *, deadline_s: float = DEADLINE_S, runs: Runs | None = None) -> Health:
    """Return the state of the platform, within `deadline_s` whatever hangs.

    `runs` are counted through the webserver unless they are given.
    """
    questions: dict[str, Callable[[], Any]] = {name: partial(parts.ask, name, settings) for name in parts.PARTS}
    questions |= {
        "runs": lambda: runs or parts.runs(settings),
        "cache": lambda: parts.cache(settings),
        "findings": lambda: _findings(settings),
    }
    answers = _within(questions, deadline_s)
    found: Findings | None = answers.get("findings")
    late = f"no answer within {deadline_s:g} s"
    return Health(
        parts=[answers.get(name) or Part(name, "down", late, 1000 * deadline_s) for name in parts.PARTS],
        runs=answers.get("runs"),
        cache=answers.get("cache"),
        slow=found.slow if found else (),
        slow_from=found.slow_from if found else "the database did not say",
        unused=found.unused if found else (),
    )


def _findings(settings: Settings) -> Findings | None:
    try:
        with warm.connect(settings, autocommit=True) as conn:
            conn.execute("SET statement_timeout = '8s'")
            return findings(conn)
    except (WellosError, psycopg.Error):
        return None


def _within(questions: dict[str, Callable[[], Any]], deadline_s: float) -> dict[str, Any]:
    """Return what was answered in time. A thread that hangs is left behind: nothing waits for it, nor does the exit."""
    answered: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    clock = WallClock()
    end = clock.monotonic() + deadline_s

    def answer(name: str) -> None:
        answered.put((name, questions[name]()))

    for name in questions:
        threading.Thread(target=answer, args=(name,), name=f"health {name}", daemon=True).start()
    found: dict[str, Any] = {}
    while len(found) < len(questions):
        try:
            name, said = answered.get(timeout=max(0.0, end - clock.monotonic()))
        except queue.Empty:
            break
        found[name] = said
    return found
