"""From adapters to the journal: a bounded queue, then check, append, one fsync for all that came meanwhile, settle.

There is no timer: whatever is delivered while one commit is under way goes into the next, one frame a connection. When
the spool is full, a source that can be acknowledged waits, unacknowledged; what any other source delivers is shed, and
a gap row says so.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import structlog

from streaming.delivery import Delivery, Gap
from streaming.spool import Entry, Journal, SpoolFullError
from streaming.validate import Share
from streaming.worker import Worker
from wellos.readings import READING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from streaming.counters import Counters
    from streaming.delivery import Rejected
    from streaming.leases import Tenure
    from streaming.validate import State, StateFile, Validator
    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.registry import Connection

__all__ = ["Intake"]

_MOST_ROWS = 100_000
"""Readings that may wait in memory; an adapter that delivers more waits itself."""
_NOBODY = 0
"""Connection of the empty delivery by which `settled` learns how far the intake is; the registry counts from 1."""
_FULL_RETRY_S = 0.5
_SHED_EVERY_S = 10.0
_REMEMBER_S = 60.0
_MOST_SHED_GAPS = 1000
_BESIDE_BYTES = 400
"""Most that a gap, a closed gap or an episode takes in a frame."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Shed:
    """What a full spool made us refuse from one connection."""

    received_us: int
    readings: int
    start_us: int
    end_us: int
    gaps: tuple[Gap, ...]

    def entry(self, connection_id: int) -> Entry:
        gap = Gap(self.start_us, self.end_us, "spool_full")
        return Entry(connection_id, self.received_us, gaps=(gap, *self.gaps), shed=self.readings)


class Intake:
    """The way in. `emit` is what adapters are given."""

    def __init__(
        self,
        journal: Journal,
        validator: Validator,
        clock: Clock,
        counters: Counters,
        on_durable: Callable[[Sequence[tuple[str, Readings]]], None],
        tenure: Tenure | None = None,
        memory: StateFile | None = None,
    ) -> None:
        """`on_durable` is called on the event loop with (tenant, readings) of each commit; no `tenure`: term 0.

        `memory`, already loaded, keeps what the checks know; without it a restart forgets.
        """
        self._memory = memory
        self._tenure = tenure
        self._journal, self._validator, self._clock, self._counters = journal, validator, clock, counters
        self._on_durable = on_durable
        self._names: dict[int, tuple[str, str]] = {}
        self._worker = Worker("intake")
        self._lock = Lock()
        self._queue: deque[tuple[int, Delivery]] = deque()
        self._queued_rows = 0
        self._ready, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._shed: dict[int, _Shed] = {}
        self._shed_written = clock.monotonic()
        self.full = False
        """The spool takes nothing now."""

    def configure(self, connections: Sequence[Connection]) -> None:
        """Take these connections' tags for checking."""
        with self._lock:
            self._names |= {item.connection_id: (item.tenant, item.protocol) for item in connections}
            self._validator.configure(connections)

    async def emit(self, delivery: Delivery) -> None:
        """Take one delivery; waits while too much waits already."""
        term = self._term(delivery.connection_id)  # before any wait: the lease may change hands meanwhile
        while not self._room.is_set():
            if self.full and delivery.settle is None:
                self._refuse(delivery)
                return
            await self._room.wait()
        self._queue.append((term, delivery))
        self._queued_rows += _weight(delivery)
        if self._queued_rows >= _MOST_ROWS:
            self._room.clear()
        self._ready.set()

    async def remember(self) -> None:
        """Write down what the checks know, for ever."""
        while True:
            await asyncio.sleep(_REMEMBER_S)
            await self.save()

    async def save(self) -> None:
        """Write down what the checks know, so that a restart goes on with it."""
        if self._memory is not None:
            state, generation = await self._worker.run(self._take_state, self._memory)
            await asyncio.to_thread(self._memory.write, state, generation)

    def _take_state(self, memory: StateFile) -> tuple[State, int]:
        with self._lock:
            return self._validator.state(), memory.turn()

    async def settled(self) -> None:
        """Wait until all that was delivered so far is durable."""
        reached = asyncio.Event()
        self._queue.append((0, Delivery(_NOBODY, 0, settle=reached.set)))
        self._ready.set()
        await reached.wait()

    async def run(self) -> None:
        """Commit for ever; FatalError when the journal cannot go on."""
        while True:
            await self._ready.wait()
            if self._tenure is not None:
                await self._tenure.sure()
            self._ready.clear()
            batch = list(self._queue)
            self._queue.clear()
            self._queued_rows = 0
            self._open(full=self.full)
            entries = await self._worker.run(self._check, batch)
            await self._write(entries)
            for _, delivery in batch:
                if delivery.settle is not None:
                    _settle(delivery.settle)
            filled = [entry for entry in entries if len(entry.readings)]
            self._on_durable([(self._names[entry.connection_id][0], entry.readings) for entry in filled])

    async def _write(self, entries: list[Entry]) -> None:
        """Append and sync; while the spool is full, wait for the drain."""
        waiting = deque(entries)
        while True:
            shed = self._take_shed()
            try:
                await self._worker.run(self._append, waiting, shed)
            except SpoolFullError as error:
                if not self.full:
                    log.warning("the spool is full: intake pauses", reason=str(error))
                self._open(full=True)
                self._on_durable([])  # what did fit is durable: the drain must know, it is what makes room
                await asyncio.sleep(_FULL_RETRY_S)
                continue
            if self.full:
                log.info("the spool has room again: intake goes on")
            self._open(full=False)
            if self._shed:
                self._ready.set()
            return

    def _append(self, waiting: deque[Entry], shed: list[Entry]) -> None:
        for entry in shed:
            self._count(entry, {})
            self._journal.append(entry, beyond_quota=True)
        try:
            while waiting:
                self._journal.append(waiting[0])
                waiting.popleft()
        finally:
            self._journal.sync()

    def _take_shed(self) -> list[Entry]:
        """Return what was refused, as entries: while there is no room, only now and then."""
        now = self._clock.monotonic()
        if not self._shed or (self.full and now - self._shed_written < _SHED_EVERY_S):
            return []
        self._shed_written = now
        shed, self._shed = self._shed, {}
        return [item.entry(connection_id) for connection_id, item in shed.items()]

    def _open(self, *, full: bool) -> None:
        self.full = full
        self._room.set()  # wakes whoever waits in `emit`, also to hear that there is no room
        if full:
            self._room.clear()

    def _refuse(self, delivery: Delivery) -> None:
        times = delivery.readings["time"]
        start = int(times.min()) if len(times) else delivery.received_us
        end = int(times.max()) if len(times) else delivery.received_us
        count = len(times) + len(delivery.rejected)
        new = _Shed(delivery.received_us, count, min(start, end), end, delivery.gaps)
        old = self._shed.get(delivery.connection_id)
        if old is not None:
            gaps = (*old.gaps, *new.gaps)
            gaps, cut = gaps[-_MOST_SHED_GAPS:], gaps[:-_MOST_SHED_GAPS]
            # What is too much to keep one by one lies within the one gap of the whole connection.
            first = min((old.start_us, new.start_us, *(gap.start_us for gap in cut)))
            last = max((old.end_us, new.end_us, *(gap.end_us for gap in cut)))
            new = _Shed(old.received_us, old.readings + count, first, last, gaps)
        self._shed[delivery.connection_id] = new

    def _check(self, batch: list[tuple[int, Delivery]]) -> list[Entry]:
        """Make entries of a batch in the order of its arrival, none with deliveries of two terms."""
        return [entry for terms, deliveries in _rounds(batch) for entry in self._check_round(terms, deliveries)]

    def _check_round(self, terms: dict[int, int], batch: list[Delivery]) -> list[Entry]:
        """Check each connection's share of the batch and make it one entry, or several where it is large."""
        by_connection: dict[int, list[Delivery]] = {}
        for delivery in batch:
            if delivery.connection_id != _NOBODY:
                by_connection.setdefault(delivery.connection_id, []).append(delivery)
        shares = [
            Share(
                connection_id,
                deliveries[0].readings if len(deliveries) == 1 else np.concatenate([d.readings for d in deliveries]),
                min(item.received_us for item in deliveries),
            )
            for connection_id, deliveries in by_connection.items()
        ]
        entries = []
        with self._lock:
            checked = self._validator.check(shares, self._clock.micros())
        if self._memory is not None:
            self._memory.note([(item.connection_id, episode) for item in checked for episode in item.episodes])
        for item in checked:
            deliveries = by_connection.get(item.connection_id, [])
            entry = Entry(
                item.connection_id,
                item.received_us,
                item.readings,
                tuple(r for delivery in deliveries for r in delivery.rejected) + item.rejected,
                tuple(gap for delivery in deliveries for gap in delivery.gaps),
                item.duplicates,
                filled=tuple(span for delivery in deliveries for span in delivery.filled),
                episodes=item.episodes,
                term=terms[item.connection_id] if deliveries else self._term(item.connection_id),
            )
            if item.connection_id in self._names:
                self._count(entry, item.findings)
            entries += _split(entry, self._journal.max_frame_bytes)
        return entries

    def _term(self, connection_id: int) -> int:
        return 0 if self._tenure is None else self._tenure.frame_term(connection_id)

    def _count(self, entry: Entry, findings: dict[str, int]) -> None:
        counters, (tenant, protocol) = self._counters, self._names[entry.connection_id]
        counters.count_quality(tenant, protocol, entry.readings)
        counters.by_connection[entry.connection_id] += len(entry.readings)
        for name, n in findings.items():
            counters.findings[tenant, name] += n
        for item in entry.rejected:
            if item.reason not in findings:
                counters.findings[tenant, item.reason] += 1
        rows, rejected = len(entry.readings), len(entry.rejected)
        terms = counters.terms
        terms["received"] += rows + rejected + entry.duplicates + entry.shed
        terms["quarantined"] += rejected
        terms["duplicates"] += entry.duplicates
        terms["shed"] += entry.shed
        terms["spooled"] += rows


def _rounds(batch: list[tuple[int, Delivery]]) -> list[tuple[dict[int, int], list[Delivery]]]:
    """Cut a batch wherever a connection comes with another term; each piece has one term a connection."""
    terms: dict[int, int] = {}
    pieces: list[tuple[dict[int, int], list[Delivery]]] = [(terms, [])]
    for term, delivery in batch:
        if terms.setdefault(delivery.connection_id, term) != term:
            terms = {delivery.connection_id: term}
            pieces.append((terms, []))
        pieces[-1][1].append(delivery)
    return pieces


def _settle(settle: Callable[[], None]) -> None:
    try:
        settle()
    except Exception:  # supervision: a source that cannot be told must not stop the others; it will deliver again
        log.exception("acknowledging a delivery failed")


def _weight(delivery: Delivery) -> int:
    """Readings, with an original counted by its size and everything else as a reading each."""
    beside = len(delivery.gaps) + len(delivery.filled)
    originals = sum(1 + len(item.original) // READING.itemsize for item in delivery.rejected)
    return len(delivery.readings) + beside + originals


def _split(entry: Entry, most_bytes: int) -> list[Entry]:
    """Cut an entry that would not fit a frame; the first part carries the counts."""
    rows, beside = most_bytes // 4 // READING.itemsize, most_bytes // 4 // _BESIDE_BYTES
    small = max(len(entry.gaps), len(entry.filled), len(entry.episodes)) <= beside // 4
    if len(entry.readings) <= rows and not entry.rejected and small:
        return [entry]
    rejected, parts = _shorten(entry, most_bytes), []
    while True:
        taken, size = 0, 0
        while taken < len(rejected) and (size := size + _size(rejected[taken])) <= most_bytes // 4:
            taken += 1
        taken = max(taken, min(1, len(rejected)))
        part, entry = _cut(entry, rows, beside // 4)
        parts.append(replace(part, rejected=rejected[:taken]))
        rejected = rejected[taken:]
        if not (len(entry.readings) or rejected or entry.gaps or entry.filled or entry.episodes):
            return parts


def _cut(entry: Entry, rows: int, beside: int) -> tuple[Entry, Entry]:
    """Return the first readings, gaps, closed gaps and episodes, with the counts, and what is left."""
    first = replace(
        entry,
        readings=entry.readings[:rows],
        gaps=entry.gaps[:beside],
        filled=entry.filled[:beside],
        episodes=entry.episodes[:beside],
    )
    left = replace(
        entry,
        readings=entry.readings[rows:],
        gaps=entry.gaps[beside:],
        filled=entry.filled[beside:],
        episodes=entry.episodes[beside:],
        duplicates=0,
        shed=0,
    )
    return first, left


def _size(item: Rejected) -> int:
    """Bytes in a frame, roughly: base64 and JSON."""
    return 2 * len(item.original) + len(item.detail) + 2 * len(item.source) + 200


def _shorten(entry: Entry, most_bytes: int) -> tuple[Rejected, ...]:
    """Originals that no frame could hold keep their beginning, and say so."""
    most = most_bytes // 4 - 1000
    return tuple(
        item
        if len(item.original) <= most
        else replace(
            item, original=item.original[:most], detail=f"{item.detail} (first {most} of {len(item.original)} bytes)"
        )
        for item in entry.rejected
    )
