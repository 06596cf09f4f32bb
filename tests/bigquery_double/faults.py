"""Faults on demand: what to do to which request or job, how often, after how many that are let through."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from tests.bigquery_double.refusals import Json

Kind: TypeAlias = Literal["refuse", "lose_reply", "hang", "slow", "job_error", "wrong_count", "corrupt"]
OF_REQUESTS: tuple[Kind, ...] = ("refuse", "lose_reply", "hang")
OF_JOBS: tuple[Kind, ...] = ("slow", "job_error", "wrong_count", "corrupt")


@dataclass
class Fault:
    """One planned fault.

    refuse: answer `status` and `reason` without doing the work; lose_reply: do the work, then hang up; hang: answer
    after `seconds`; slow: a job takes `seconds`; job_error: a job ends with `reason`; wrong_count: a load stores one
    row less than it was given; corrupt: a load alters the last bit of one value.
    """

    kind: Kind
    path: str = ""
    """Pattern looked for in `METHOD /path`, or in a job's id."""
    count: int = 1
    skip: int = 0
    status: int = 503
    reason: str = "backendError"
    seconds: float = 0.0
    hits: int = 0


class Faults:
    """The plan, shared by all threads of the server."""

    def __init__(self) -> None:
        self._planned: list[Fault] = []
        self._lock = threading.Lock()

    def plan(self, wanted: Json) -> None:
        with self._lock:
            self._planned.append(Fault(**wanted))

    def clear(self) -> None:
        with self._lock:
            self._planned.clear()

    def hits(self) -> int:
        with self._lock:
            return sum(fault.hits for fault in self._planned)

    def take(self, kinds: tuple[Kind, ...], subject: str) -> list[Fault]:
        """Return what is to happen to this request or job, and count it."""
        found = []
        with self._lock:
            for fault in self._planned:
                if fault.kind not in kinds or not re.search(fault.path, subject):
                    continue
                if fault.skip:
                    fault.skip -= 1
                elif fault.hits < fault.count:
                    fault.hits += 1
                    found.append(fault)
        return found
