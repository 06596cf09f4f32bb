"""Modbus TCP client: tags polled in coalesced block reads at times that do not drift. It never writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from streaming.adapters.modbus_decode import Block, plan
from streaming.adapters.modbus_link import Link, Reply
from streaming.adapters.schedule import next_due, sleep_until
from streaming.adapters.tags import TagColumns
from streaming.delivery import ConnectionLost, Delivery, Gap
from wellos.protocols.modbus import ModbusConfig, parse_address
from wellos.quality import MODBUS_NO_REPLY, from_modbus
from wellos.readings import Readings, empty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.registry import Connection

__all__ = ["ModbusAdapter"]

_log = structlog.get_logger(__name__)
_SPLIT_ON = frozenset({2, 3})
"""Illegal address and value: what one register can bring upon a whole block. The others speak of the device."""
_RELEARN_S = 600.0
_MICROS = 1_000_000
_GAP_EVERY_US = 300 * _MICROS
"""A device too slow for its interval misses polls without end: one gap in this time, not one a poll."""


@dataclass(slots=True)
class _Group:
    """The tags of one interval: what to read, and when it was due last."""

    interval_us: int
    planned: list[Block]
    blocks: list[Block]
    last_due_us: int = 0
    relearn_at: float = 0.0
    missed_from_us: int = 0
    """First due time that was missed and is not yet in a gap; 0 for none."""
    missed_to_us: int = 0
    gap_told_us: int = 0


class ModbusAdapter:
    """Client of one Modbus TCP device, or of the units behind one gateway."""

    loss_window = (
        "Values between two polls, as with any polled source; a poll that is missed while we are disconnected, full or "
        "late is recorded as a gap. A poll received but not yet durable is lost when ingest is killed."
    )

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._connection = connection
        self._clock = clock
        self._status = status
        self._config = ModbusConfig.parse(connection.config)
        self._tags = TagColumns(connection.tags)
        self._faults: dict[int, int] = {}
        by_interval: dict[int, list[int]] = {}
        for position, tag in enumerate(connection.tags):
            by_interval.setdefault(max(1, round(tag.interval_s * _MICROS)), []).append(position)
        addresses = [parse_address(tag.address) for tag in connection.tags]
        self._groups = []
        for interval_us, positions in sorted(by_interval.items()):
            tags = [(position, addresses[position]) for position in positions]
            blocks = plan(tags, self._config.max_registers, self._config.max_gap)
            self._groups.append(_Group(interval_us, blocks, blocks))

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect and poll until cancelled; ConnectionLost when the peer hangs up or no longer answers."""
        link = Link(self._config)
        try:
            await link.open()
            now = self._clock.micros()
            self._status.become("connected", now)
            gaps = self._status.outage(now)
            if gaps:
                await emit(Delivery(self._connection.connection_id, now, gaps=gaps))
            for group in self._groups:
                # The first poll is at once; the next at the next multiple of the interval.
                group.last_due_us = (now // group.interval_us - 1) * group.interval_us
            while self._groups:
                group = min(self._groups, key=lambda one: one.last_due_us + one.interval_us)
                await self._poll(link, group, emit)
        except ConnectionLost:
            now = self._clock.micros()
            gaps = tuple(gap for group in self._groups for gap in self._missed(group, now))
            if gaps:
                await emit(Delivery(self._connection.connection_id, now, gaps=gaps))
            raise
        finally:
            link.close()

    async def change(self, connection: Connection) -> bool:
        """Take over no change while running: a new adapter does it."""
        return connection == self._connection

    async def _poll(self, link: Link, group: _Group, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        due = next_due(group.last_due_us, self._clock.micros(), group.interval_us)
        await sleep_until(self._clock, due.next_us)
        group.last_due_us = due.next_us
        if due.missed:
            group.missed_from_us = group.missed_from_us or due.first_missed_us
            group.missed_to_us = due.next_us
        now = self._clock.micros()
        gaps = self._missed(group, now) if now - group.gap_told_us >= _GAP_EVERY_US else ()
        readings = await self._read(link, group)
        self._status.last_reading_us = self._status.heard_us
        await emit(Delivery(self._connection.connection_id, self._clock.micros(), readings, gaps=gaps))

    def _missed(self, group: _Group, now_us: int) -> tuple[Gap, ...]:
        """Return what was missed and not told yet: the first miss at once, then all of some minutes together."""
        if not group.missed_from_us:
            return ()
        start, end = group.missed_from_us, group.missed_to_us
        group.missed_from_us, group.gap_told_us = 0, now_us
        if len(self._groups) == 1:
            return (Gap(start, end, "poll_missed"),)
        numbers = [int(self._tags.tag_id[position]) for block in group.planned for position in block.positions]
        return tuple(Gap(start, end, "poll_missed", number) for number in numbers)

    async def _read(self, link: Link, group: _Group) -> Readings:
        """Read all blocks of a group; a block refused for one of its registers is split, and stays so for a while."""
        if group.blocks is not group.planned and self._clock.monotonic() >= group.relearn_at:
            group.blocks = group.planned
        parts: list[Readings] = [empty()]
        done: list[Block] = []
        waiting = list(reversed(group.blocks))
        while waiting:
            block = waiting.pop()
            time_us = self._clock.micros()
            reply = await link.read(block)
            if reply.status != MODBUS_NO_REPLY:
                self._status.heard_us = self._clock.micros()
            halves = block.split() if reply.status in _SPLIT_ON else ()
            if halves:
                waiting += reversed(halves)
                continue
            done.append(block)
            self._note(block, reply)
            quality = from_modbus(np.full(len(block.positions), reply.status))
            parts.append(self._tags.readings(block.positions, time_us, reply.values, quality, reply.status))
        if len(done) != len(group.blocks):
            group.blocks = done
            group.relearn_at = self._clock.monotonic() + _RELEARN_S
        return np.concatenate(parts)

    def _note(self, block: Block, reply: Reply) -> None:
        """Log the first answer of a kind, not every poll of a bad register."""
        for position in block.positions:
            before = self._faults.get(position, 0)
            if before != reply.status:
                self._faults[position] = reply.status
                _log.warning(
                    "register refused" if reply.status else "register answers again",
                    connection=self._connection.name,
                    tag=self._connection.tags[position].name,
                    address=self._connection.tags[position].address,
                    status=reply.status or before,
                )
