"""Modbus client (TCP, or RTU over TCP): tags polled in coalesced reads at times that do not drift. It never writes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streaming.adapters.modbus_group import Group, grouped
from streaming.adapters.modbus_link import Link
from streaming.adapters.schedule import next_due, sleep_until
from streaming.delivery import ConnectionLost, Delivery
from wellos.errors import ConfigurationError
from wellos.protocols.modbus import ModbusConfig

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.registry import Connection

__all__ = ["ModbusAdapter"]


class ModbusAdapter:
    """Client of one Modbus device, or of the units behind one gateway."""

    loss_window = (
        "Values between two polls, as with any polled source. A missed poll is recorded as a gap: disconnected, "
        "poll_overrun (the device is slower than the interval) or poll_missed (the pipeline was full). A poll received "
        "but not yet durable is lost when ingest is killed."
    )

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._connection = connection
        self._clock = clock
        self._status = status
        self._config = ModbusConfig.parse(connection.config)
        self._groups = grouped(connection, self._config)
        self._link: Link | None = None
        self._heard = False
        self._wanted: tuple[Connection, ModbusConfig, list[Group]] | None = None
        self._changed = asyncio.Event()

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect and poll until cancelled; ConnectionLost when the peer hangs up or no longer answers."""
        self._link = link = Link(self._config, _units(self._groups))
        try:
            await link.open()
            self._status.become("connected", self._clock.micros())
            for group in self._groups:
                self._begin(group)
            while True:
                await self._take_over(link, emit)
                next_group = await self._next_due()
                if next_group is not None:
                    await self._poll(link, next_group, emit)
        except (ConnectionLost, asyncio.CancelledError):
            await self._tell(emit, self._groups)
            if self._heard:  # and nothing is untold any more: the next gap begins at the last word
                self._status.heard_us = self._status.last_reading_us
            raise
        finally:
            self._link = None
            link.close()

    async def change(self, connection: Connection) -> bool:
        """Take tags, time-outs and block sizes over before the next poll; False for another peer, or unconnected."""
        try:
            config = ModbusConfig.parse(connection.config)
            same = (config.max_registers, config.max_gap) == (self._config.max_registers, self._config.max_gap)
            groups = grouped(connection, config, self._groups if same else ())
        except ConfigurationError:
            return False  # the new adapter that is built instead says what is wrong
        here = (self._config.host, self._config.port, self._config.framing)
        if self._link is None or not self._link.is_open or (config.host, config.port, config.framing) != here:
            return False
        self._wanted = (connection, config, groups)
        self._changed.set()
        return True

    async def _tell(
        self, emit: Callable[[Delivery], Awaitable[None]], groups: Sequence[Group], poll: Delivery | None = None
    ) -> None:
        """Emit a poll with what is due to be told of misses; without one, all that is not told yet, if any.

        What could not be emitted stays untold.
        """
        delivery = poll or Delivery(self._connection.connection_id, self._clock.micros())
        before, whole = [group.missed for group in groups], len(self._groups) == 1
        for group in groups:
            delivery.gaps += group.gaps(delivery.received_us, whole=whole, at_last=poll is None)
        taken = False
        try:
            if poll is not None or delivery.gaps:
                await emit(delivery)
            taken = True
        finally:
            if not taken:
                for group, missed in zip(groups, before, strict=True):
                    group.missed = missed

    async def _take_over(self, link: Link, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        self._changed.clear()
        if self._wanted is None:
            return
        staying = {group.interval_us for group in self._wanted[2]}
        await self._tell(emit, [group for group in self._groups if group.interval_us not in staying])
        before = {group.interval_us: group for group in self._groups}
        self._connection, self._config, self._groups = self._wanted
        self._wanted = None
        for group in self._groups:
            old = before.get(group.interval_us)
            if old is None:
                self._begin(group)
            elif old is not group:  # it was prepared before the last poll of the old one
                group.last_due_us, group.missed, group.reading_us = old.last_due_us, old.missed, old.reading_us
        link.take_over(self._config, _units(self._groups))

    def _begin(self, group: Group) -> None:
        # The first poll is at once; the next at the next multiple of the interval.
        group.last_due_us = (self._clock.micros() // group.interval_us - 1) * group.interval_us

    async def _next_due(self) -> Group | None:
        """Wait for the group that is due next; None when there is something to take over or to reckon anew first."""
        if not self._groups:
            await self._changed.wait()
            return None
        now = self._clock.micros()
        for group in self._groups:
            if group.last_due_us > now:  # the clock was set back
                group.last_due_us = now // group.interval_us * group.interval_us
        group = min(self._groups, key=lambda one: one.last_due_us + one.interval_us)
        return group if await sleep_until(self._clock, group.last_due_us + group.interval_us, self._changed) else None

    async def _poll(self, link: Link, group: Group, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        now = self._clock.micros()
        due = next_due(group.last_due_us, now, group.interval_us)
        if due.missed:
            self._status.missed_polls += due.missed
            # Either our own reading took too long, or the pipeline was full (or the process stood still).
            late = "poll_overrun" if 2 * group.reading_us >= group.interval_us else "poll_missed"
            group.missed.add(due.first_missed_us, due.next_us, late)
        group.last_due_us = due.next_us
        polled = await group.poll(link, self._clock)
        read = self._clock.micros()
        group.reading_us = read - now
        outage = self._status.outage(now) if polled.heard and not self._heard else ()
        delivery = Delivery(self._connection.connection_id, read, polled.readings, polled.rejected, outage)
        await self._tell(emit, [group], delivery)
        if polled.heard:
            self._heard = True
            # What was missed and is not told yet would be forgotten by a kill: the gap after it begins there then.
            self._status.last_reading_us = read
            untold = [group.missed.start_us for group in self._groups if group.missed.start_us]
            self._status.heard_us = min([read, *untold])
        if link.gone:
            raise ConnectionLost(f"{link.address}: no unit answers")


def _units(groups: list[Group]) -> set[int]:
    return {block.unit for group in groups for block in group.planned.blocks}
