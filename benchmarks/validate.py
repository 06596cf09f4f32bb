"""Readings a second that pass all checks at 25,000 tags, beside a mere copy of them; and what each check takes.

A field of 500 connections of 50 tags, a reading a tag every 15 s of its own time; noise, a few faults. Batches of
20,000 readings over 400 connections, as a busy intake makes them, and of 500 over 10.
"""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import psutil

from benchmarks.report import Machine, Report, parser
from streaming.validate import Share, Validator
from streaming.validate.connections import Connections
from streaming.validate.duplicates import Duplicates
from streaming.validate.episodes import Episodes
from streaming.validate.limits import Definitions
from streaming.validate.sequence import Sequence
from streaming.validate.statistics import Statistics
from streaming.validate.stuck import Stuck
from wellos.readings import pack
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.readings import Readings

_CONNECTIONS, _TAGS = 500, 50
_STEP_US = 15_000_000
_START_US = 1_750_000_000_000_000
_KINDS = (("pressure", "psi"), ("temperature", "degF"), ("rate", "bbl/d"), ("current", "A"), ("total", "bbl"))
_PARTS = {
    "limits": (Definitions, ("grade",)),
    "duplicates": (Duplicates, ("find",)),
    "order and spikes": (Sequence, ("in_order", "follow")),
    "stuck": (Stuck, ("follow", "look")),
    "rate of change": (Statistics, ("changes",)),
    "z-score": (Statistics, ("score",)),
    "episodes": (Episodes, ("find", "pass_by", "expire", "drain")),
    "connections": (Connections, ("take", "note_lags", "expire", "drain")),
}


def main(argv: list[str]) -> int:
    """Measure and report."""
    options = parser("validate", __doc__)
    options.add_argument("--minutes", type=int, default=70, help="minutes of the field's time for the large batches")
    args = options.parse_args(argv)
    machine = Machine.read()
    figures: dict[str, float] = {}
    limit: dict[str, float] = {}
    validator = Validator()
    validator.configure(_field())
    now = _START_US
    rounds = args.minutes * 4
    now, spent, copied = _run(validator, now, 400, rounds)
    figures["readings/s, batches of 20,000"] = rate = 400 * _TAGS * rounds / spent
    limit["readings/s copied, batches of 20,000"] = most = 400 * _TAGS * rounds / copied
    now, spent, copied = _run(validator, now, 10, rounds)
    figures["readings/s, batches of 500"] = _CONNECTIONS * _TAGS * (rounds // 50) / spent
    limit["readings/s copied, batches of 500"] = _CONNECTIONS * _TAGS * (rounds // 50) / copied
    with _watched() as seconds:
        now, spent, _ = _run(validator, now, 400, rounds // 4)
    whole = 400 * _TAGS * (rounds // 4)
    for name in _PARTS:
        figures[f"ns a reading, {name}"] = 1e9 * seconds[name] / whole
    figures["ns a reading, the rest"] = 1e9 * (spent - sum(seconds.values())) / whole
    begun = time.perf_counter()
    state = validator.state()
    figures["ms to copy the state"] = 1e3 * (time.perf_counter() - begun)
    figures["MB of state"] = sum(array.nbytes for array in state.arrays.values()) / 1e6
    figures["MB resident, whole process"] = psutil.Process().memory_info().rss / 1e6
    Report("validate", figures, limit, rate / most).show(machine, as_json=args.json)
    return 0


def _field() -> list[Connection]:
    tenant = UUID(int=1)
    connections = []
    for number in range(1, _CONNECTIONS + 1):
        tags = tuple(
            Tag(
                (number - 1) * _TAGS + n + 1,
                tenant,
                f"W{number}",
                f"t{n}",
                "a",
                unit=_KINDS[n % 5][1],
                quantity=_KINDS[n % 5][0],
                low=0.0,
                high=1000.0,
                resolution=0.1,
                sentinels=(-9999.0,) if n % 10 == 0 else (),
            )
            for n in range(_TAGS)
        )
        connections.append(Connection(number, tenant, "acme", f"c{number}", "opcua", {}, tags))
    return connections


def _polls(now: int, rng: np.random.Generator) -> Readings:
    """One poll of the whole field: an odd reading in 2,000 is out of range."""
    tags = np.arange(1, _CONNECTIONS * _TAGS + 1)
    value = 50 + tags % 290 + rng.normal(0, 0.3, len(tags))
    value[rng.random(len(tags)) < 0.0005] = 2000.0
    return pack(now + tags % 1000, value, tags, 2)


def _run(validator: Validator, now: int, connections: int, rounds: int) -> tuple[int, float, float]:
    """Return the time reached, and seconds spent checking and copying. Small batches: a fiftieth of the rounds."""
    rng = np.random.default_rng(7)
    spent = copied = 0.0
    for _ in range(rounds if connections > 100 else rounds // 50):
        now += _STEP_US
        polls = _polls(now, rng)
        for first in range(0, _CONNECTIONS, connections):
            numbers = range(first, min(first + connections, _CONNECTIONS))
            shares = [Share(n + 1, polls[n * _TAGS : (n + 1) * _TAGS], now + 200_000) for n in numbers]
            timed = len(shares) == connections
            begun = time.perf_counter()
            validator.check(shares, now + 250_000)
            between = time.perf_counter()
            _ = [share.readings.copy() for share in shares]
            if timed:
                spent += between - begun
                copied += time.perf_counter() - between
    return now, spent, copied


@contextmanager
def _watched() -> Iterator[dict[str, float]]:
    """Time the calls of each part while this lasts."""
    seconds: dict[str, float] = defaultdict(float)
    undo: list[tuple[type, str, Any]] = []

    def watch(name: str, owner: type, method: str) -> None:
        call = getattr(owner, method)
        undo.append((owner, method, call))

        def timed(*args: object, **kwargs: object) -> object:
            begun = time.perf_counter()
            try:
                return call(*args, **kwargs)
            finally:
                seconds[name] += time.perf_counter() - begun

        setattr(owner, method, timed)

    for name, (owner, methods) in _PARTS.items():
        for method in methods:
            watch(name, owner, method)
    try:
        yield seconds
    finally:
        for owner, method, call in undo:
            setattr(owner, method, call)
