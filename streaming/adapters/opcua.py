"""OPC UA client: one session, subscriptions of bounded size, source times and status codes kept.

The library's publish loop hands each whole message to `_received`, and acknowledges it to the server when that returns:
once it is durable. No further message is asked for until then; changes queue up in the server.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import structlog
from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc
from asyncua.ua.uaerrors import UaError

from streaming.adapters.opcua_decode import decode, missing_sequence
from streaming.adapters.opcua_session import (
    BadNode,
    connect,
    create_subscription,
    disconnect,
    monitor,
    node_ids,
    republish,
)
from streaming.adapters.tags import TagColumns
from streaming.delivery import ConnectionLost, Delivery, Gap
from wellos.protocols.opcua import OpcUaConfig, parse_address
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncua.client.client import Client

    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.registry import Connection

__all__ = ["OpcUaAdapter"]

_log = structlog.get_logger(__name__)
_ITEMS_A_SUBSCRIPTION = 1000
_QUEUED_MESSAGES = 8


@dataclass(frozen=True, slots=True)
class _Message:
    """One notification message, and what the library waits for before it acknowledges it."""

    result: ua.PublishResult
    durable: asyncio.Future[None]


class OpcUaAdapter:
    """Client of one OPC UA server."""

    loss_window = (
        "Changes the server drops while we are away or its queue overflows, and the message not yet durable when "
        "ingest is killed: it is not acknowledged, but a server gives nothing to a new session. Recorded as gaps."
    )
    retry_refused_s: ClassVar[float] = 60.0
    """Seconds between two tries of the nodes that the server refused."""

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._connection = connection
        self._clock = clock
        self._status = status
        self._config = OpcUaConfig.parse(connection.config)
        self._addresses = [parse_address(tag.address) for tag in connection.tags]
        self._names = [tag.address for tag in connection.tags]
        self._tags = TagColumns(connection.tags)
        self._last_us = np.zeros(len(connection.tags), dtype=np.int64)
        self._sequence: dict[int, int] = {}
        self._subscriptions: list[int] = []
        self._refused: dict[int, int] = {}
        self._retry_at = clock.monotonic() + self.retry_refused_s
        self._messages: asyncio.Queue[_Message] = asyncio.Queue(_QUEUED_MESSAGES)
        self._unsettled = 0
        self._settled_at = 0.0

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect, subscribe and deliver until cancelled; ConnectionLost when the server goes or falls silent."""
        # What it reports as errors, with tracebacks, is what we report as a lost connection.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        client = await connect(self._config)
        try:
            await self._begin(client, emit)
            await self._deliver(client, emit)
        except (OSError, TimeoutError, UaError) as error:
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"{self._config.url}: {reason}") from error
        finally:
            await disconnect(client)

    async def change(self, connection: Connection) -> bool:
        """Take over no change while running: a new adapter does it."""
        return connection == self._connection

    async def _begin(self, client: Client, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        nodes = await node_ids(client, self._addresses)
        now = self._clock.micros()
        gaps = self._status.outage(now)
        self._status.heard_us = now
        if gaps:
            await emit(Delivery(self._connection.connection_id, now, gaps=gaps))
        every = list(enumerate(nodes))
        for start in range(0, len(every), _ITEMS_A_SUBSCRIPTION):
            chunk = every[start : start + _ITEMS_A_SUBSCRIPTION]
            subscription = await create_subscription(client, self._config, self._received)
            self._subscriptions.append(subscription)
            await self._monitor(client, subscription, chunk, emit)
        self._status.become("connected", self._clock.micros())

    async def _monitor(
        self,
        client: Client,
        subscription: int,
        items: list[tuple[int, ua.NodeId | None]],
        emit: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        """Monitor nodes by position; a node the server refuses becomes one BAD reading without a value, once."""
        refused = await monitor(client, self._config, subscription, items)
        now = self._clock.micros()
        bad = [node for node in refused if node.position not in self._refused]
        back = [position for position, _ in items if position in self._refused and position not in _positions(refused)]
        for node in bad:
            self._refused[node.position] = now
            _log.warning(
                "node refused",
                connection=self._connection.name,
                node=self._names[node.position],
                status=get_name_and_doc(node.status)[0],
            )
        gaps = tuple(
            Gap(self._refused.pop(position), now, "node_refused", int(self._tags.tag_id[position])) for position in back
        )
        if bad or gaps:
            positions, statuses = (
                [node.position for node in bad],
                np.array([node.status for node in bad], dtype=np.uint32),
            )
            nothing = np.full(len(bad), np.nan)
            readings = self._tags.readings(positions, now, nothing, Quality.BAD, statuses)
            await emit(Delivery(self._connection.connection_id, now, readings, gaps=gaps))

    async def _retry_refused(self, client: Client, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Try the refused nodes again now and then: they may appear when the server's project is changed."""
        if not self._refused or self._clock.monotonic() < self._retry_at:
            return
        self._retry_at = self._clock.monotonic() + self.retry_refused_s
        positions = sorted(self._refused)
        nodes = await node_ids(client, [self._addresses[position] for position in positions])
        items = list(zip(positions, nodes, strict=True))
        await self._monitor(client, self._subscriptions[-1], items, emit)

    async def _received(self, result: ua.PublishResult) -> None:
        """Take a message or a keep-alive from the library; a message is held until it is durable."""
        message = _Message(result, asyncio.get_running_loop().create_future())
        if not result.NotificationMessage.NotificationData:
            message.durable.set_result(None)
        await self._messages.put(message)
        await message.durable

    async def _deliver(self, client: Client, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Emit whatever has come, all queued messages as one delivery, until the server is lost."""
        while True:
            messages = [await self._next_message()]
            while not self._messages.empty():
                messages.append(self._messages.get_nowait())
            before = self._status.heard_us
            now = self._clock.micros()
            self._status.heard_us = now
            gaps: list[Gap] = []
            items: list[Any] = []
            for message in messages:
                gaps += await self._recover(client, message.result, items, before, now)
                items += _data_changes(message.result.NotificationMessage.NotificationData or ())
            self._unsettled += 1
            settle = partial(self._settle, messages)
            if items or gaps:
                found = decode(items, self._tags, self._names, self._last_us, now)
                if len(found.readings):
                    self._status.last_reading_us = now
                delivery = Delivery(self._connection.connection_id, now, found.readings, found.rejected)
                delivery.gaps, delivery.settle = (*gaps, *found.gaps), settle
                await emit(delivery)
            else:
                settle()
            await self._retry_refused(client, emit)

    def _settle(self, messages: Sequence[_Message]) -> None:
        self._unsettled -= 1
        self._settled_at = self._clock.monotonic()
        for message in messages:
            if not message.durable.done():
                message.durable.set_result(None)

    async def _next_message(self) -> _Message:
        """Wait for a message or a keep-alive; silence longer than the watchdog is a lost connection.

        While a delivery is not settled nothing is asked of the server: its silence begins after that.
        """
        while True:
            try:
                async with asyncio.timeout(self._config.watchdog_s):
                    return await self._messages.get()
            except TimeoutError as error:
                silent_s = self._clock.monotonic() - self._settled_at
                if not self._unsettled and silent_s >= self._config.watchdog_s:
                    raise ConnectionLost(f"{self._config.url}: silent for {self._config.watchdog_s:g} s") from error

    async def _recover(
        self, client: Client, message: ua.PublishResult, items: list[Any], before: int, now: int
    ) -> list[Gap]:
        """Ask again for messages missed before this one; what the server no longer has is a gap."""
        if not message.NotificationMessage.NotificationData:
            return []
        subscription, current = int(message.SubscriptionId), int(message.NotificationMessage.SequenceNumber)
        missing = missing_sequence(self._sequence.get(subscription), current)
        self._sequence[subscription] = current
        if missing == []:
            return []
        lost = missing is None
        for number in missing or ():
            again = await republish(client, subscription, number)
            lost = lost or again is None
            items += _data_changes(again or ())
        _log.warning("sequence jump", connection=self._connection.name, subscription=subscription, lost=lost)
        return [Gap(min(before, now), now, "sequence_jump")] if lost else []


def _positions(refused: Iterable[BadNode]) -> set[int]:
    return {node.position for node in refused}


def _data_changes(notifications: Iterable[Any]) -> list[Any]:
    """Return the monitored item notifications; a status change for the worse ends the connection."""
    items: list[Any] = []
    for notification in notifications:
        if isinstance(notification, ua.DataChangeNotification):
            items += notification.MonitoredItems or ()
        elif isinstance(notification, ua.StatusChangeNotification) and not notification.Status.is_good():
            raise ConnectionLost(f"the server ended the subscription: {notification.Status.name}")
    return items
