"""OPC UA client: one session, subscriptions of bounded size, source times and status codes kept.

The library's publish loop hands each whole message to `_received`, and acknowledges it to the server when that returns:
once it is durable. No further message is asked for until then; changes queue up in the server.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import structlog
from asyncua import ua
from asyncua.ua.uaerrors import UaError

from streaming.adapters.opcua_changes import DataChanges
from streaming.adapters.opcua_decode import decode, missing_sequence
from streaming.adapters.opcua_history import HistoryFill
from streaming.adapters.opcua_items import Items
from streaming.adapters.opcua_publish import publish_columns
from streaming.adapters.opcua_resume import Kept, Missed, missed_messages, server_started, take_over
from streaming.adapters.opcua_session import NAMESPACES, namespaces, republish
from streaming.adapters.opcua_watch import Watch
from streaming.delivery import ConnectionLost, Delivery, Gap
from wellos.errors import ConfigurationError, RetryableError
from wellos.opcua_client import close_session, open_session
from wellos.protocols.opcua import OpcUaConfig
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncua.client.client import Client

    from streaming.adapters.opcua_watch import News
    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.opcua_client import SessionClient
    from wellos.registry import Connection

__all__ = ["OpcUaAdapter"]

_log = structlog.get_logger(__name__)
_QUEUED_MESSAGES = 8
_TAKEN_OVER_WITHIN_S = 300.0
"""The server is asked to keep a subscription twice as long without us."""


@dataclass(frozen=True, slots=True)
class _Message:
    """One notification message, and what the library waits for before it acknowledges it."""

    result: ua.PublishResult
    durable: asyncio.Future[None]
    received_us: int


class OpcUaAdapter:
    """Client of one OPC UA server."""

    loss_window = (
        "What a server without history drops while we are away or its queue overflows, and the message not yet durable "
        "when ingest is killed. Recorded as gaps, and closed from the server's history where it keeps one."
    )
    retry_refused_s: ClassVar[float] = 60.0
    """Seconds between two tries of the nodes that the server refused."""

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._connection = connection
        self._clock = clock
        self._status = status
        self._config = OpcUaConfig.parse(connection.config)
        self._items = Items(connection.tags, self._config)
        self._watch: Watch | None = None
        self._fill: HistoryFill
        self._emit: Callable[[Delivery], Awaitable[None]]
        self._spaces: list[str] = []
        self._started: object = None
        self._ended_by_server = False
        self._heard = False
        self._sequence: dict[int, int] = {}
        self._retry_at = clock.monotonic() + self.retry_refused_s
        self._messages: asyncio.Queue[_Message] = asyncio.Queue(_QUEUED_MESSAGES)
        self._unsettled = 0
        self._settled_at = 0.0

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect, subscribe and deliver until cancelled; ConnectionLost when the server goes or falls silent."""
        self._emit = emit
        kept, self._status.kept = self._status.kept, None
        usable = isinstance(kept, Kept) and kept.connection == self._connection
        left = kept.session if isinstance(kept, Kept) and usable and self._clock.monotonic() < kept.until_s else None
        try:
            client = await open_session(self._config, left)
        except RetryableError as error:
            raise ConnectionLost(str(error)) from error
        publish_columns(client.uaclient.session)
        tasks: list[asyncio.Task[None]] = []
        broken = False
        try:
            await self._begin(client, kept if left is not None else None)
            tasks.append(asyncio.create_task(self._deliver(client)))
            if self._config.history:
                tasks.append(asyncio.create_task(self._fill.run()))
            await _first_error(tasks)
        except ConnectionLost:
            broken = True
            raise
        except (OSError, TimeoutError, UaError) as error:
            broken = True
            reason = str(error) or type(error).__name__
            raise ConnectionLost(f"{self._config.url}: {reason}") from error
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._leave(client, broken=broken)

    async def change(self, connection: Connection) -> bool:
        """Take over changed tags on the live subscriptions; all else needs a new start, as does a server that fails."""
        if self._watch is None or replace(connection, tags=()) != replace(self._connection, tags=()):
            return False
        try:
            news = await self._watch.change(connection.tags)
        except (OSError, TimeoutError, UaError, ConfigurationError) as error:
            _log.warning("the change needs a new session", connection=connection.name, reason=str(error))
            return False
        self._connection = connection
        await self._report(news)
        return True

    async def _leave(self, client: SessionClient, *, broken: bool) -> None:
        """End the session; over a broken link nothing is said, so that the server keeps the subscriptions for us."""
        watch, self._watch = self._watch, None
        if broken and watch is not None and self._heard and self._started is not None and not self._ended_by_server:
            numbers, until_s = tuple(watch.subscriptions), self._clock.monotonic() + _TAKEN_OVER_WITHIN_S
            left, items = client.leave(), self._items
            self._status.kept = Kept(self._connection, items, numbers, self._sequence, left, self._started, until_s)
            await asyncio.sleep(0)
        await close_session(client)

    async def _begin(self, client: SessionClient, kept: object) -> None:
        number = self._connection.connection_id
        self._started = await server_started(client)
        resumed = await self._resume(client, kept) if isinstance(kept, Kept) else None
        watch = Watch(client, self._items, self._config, self._clock, self._received)
        self._fill = HistoryFill(client, self._items, self._config, self._clock, self._status, number, self._emit)
        now = self._clock.micros()
        if resumed is None:
            gaps = self._status.outage(now)
            self._status.heard_us = now
            if gaps:
                self._fill.want(gaps)
                await self._emit(Delivery(number, now, gaps=gaps))
            await self._report(await watch.start())
        else:
            # Nothing counts as heard before the first message: a server may agree and then stay silent.
            watch.subscriptions += resumed.subscriptions
            await self._catch_up(resumed, now)
        self._watch = watch
        self._status.become("connected", self._clock.micros())

    async def _resume(self, client: SessionClient, kept: Kept) -> Missed | None:
        """Take over what the last session left; None: nothing to take over, or the server refuses."""
        if kept.started != self._started or not await take_over(client, kept, self._received):
            return None
        self._items = kept.items
        _log.info("subscriptions taken over", connection=self._connection.name, same_session=client.resumed)
        return await missed_messages(client, kept)

    async def _catch_up(self, resumed: Missed, now_us: int) -> None:
        """Hand on the messages that were sent while the link broke."""
        changes, _ = _without_namespaces(_data_changes(resumed.notifications))
        found = decode(changes, self._items.columns, self._items.names, now_us, self._items.last_us)
        delivery = Delivery(self._connection.connection_id, now_us, found.readings, found.rejected, found.gaps)
        self._fill.want(found.gaps)
        self._sequence = resumed.sequence
        if changes:
            await self._emit(delivery)

    async def _report(self, news: News) -> None:
        """Emit a BAD reading without a value for each node newly refused, and the gaps of those that answer again."""
        if not news:
            return
        now = self._clock.micros()
        handles = [item.handle for item, _ in news.refused]
        statuses = np.array([status for _, status in news.refused], dtype=np.uint32)
        since = [item.refused_us for item, _ in news.refused]
        readings = self._items.columns.readings(handles, since, np.full(len(handles), np.nan), Quality.BAD, statuses)
        self._fill.want(news.gaps)
        await self._emit(Delivery(self._connection.connection_id, now, readings, gaps=tuple(news.gaps)))

    async def _retry_refused(self) -> None:
        # Asked with every message: the items are looked through only when it is time.
        if self._watch is None or self._clock.monotonic() < self._retry_at:
            return
        self._retry_at = self._clock.monotonic() + self.retry_refused_s
        if self._items.refused():
            await self._report(await self._watch.retry())

    async def _received(self, result: ua.PublishResult) -> None:
        """Take a message or a keep-alive from the library; a message is held until it is durable."""
        message = _Message(result, asyncio.get_running_loop().create_future(), self._clock.micros())
        if not result.NotificationMessage.NotificationData:
            message.durable.set_result(None)
        await self._messages.put(message)
        await message.durable

    async def _deliver(self, client: Client) -> None:
        """Emit whatever has come, all queued messages as one delivery, until the server is lost."""
        while True:
            messages = [await self._next_message()]
            while not self._messages.empty():
                messages.append(self._messages.get_nowait())
            before, known = self._status.heard_us, dict(self._sequence)
            taken = False
            try:
                ended, rebind = await self._hand_on(client, messages)
                taken = True
            finally:
                if not taken:  # the next session asks for it again, or its gap begins at the word before
                    self._status.heard_us, self._sequence = before, known
            if ended:
                raise ConnectionLost(f"{self._config.url}: {ended}")
            if rebind:
                await self._rebind(client)
            await self._retry_refused()

    async def _hand_on(self, client: Client, messages: Sequence[_Message]) -> tuple[str, bool]:
        """Emit messages as one delivery; return why the subscription ended, if so, and whether namespaces changed."""
        before, now = self._status.heard_us, self._clock.micros()
        gaps: list[Gap] = []
        changes: list[DataChanges] = []
        ended = ""
        for message in messages:
            content = message.result.NotificationMessage.NotificationData or ()
            end = _ended(content)
            if end and not message.result.NotificationMessage.SequenceNumber:
                # The library says of a broken link what a server says of a subscription, but without a number.
                ended = ended or "the link broke, or the server answers no longer"
                continue
            if end:
                ended = ended or f"the server ended the subscription: {end}"
            self._ended_by_server = self._ended_by_server or bool(end)
            # It may have waited for the pipeline: the server's word is as old as its receipt.
            self._status.heard_us, self._heard = message.received_us, True
            gaps += await self._recover(client, message.result, changes, before, now)
            changes += _data_changes(content)
        changes, rebind = _without_namespaces(changes)
        self._unsettled += 1
        settle = partial(self._settle, messages)
        if not (changes or gaps):
            settle()
            return ended, rebind
        found = decode(changes, self._items.columns, self._items.names, now, self._items.last_us)
        if len(found.readings):
            self._status.last_reading_us = self._status.heard_us
        delivery = Delivery(self._connection.connection_id, now, found.readings, found.rejected)
        delivery.gaps, delivery.settle = (*gaps, *found.gaps), settle
        self._fill.want(delivery.gaps)
        await self._emit(delivery)
        return ended, rebind

    async def _rebind(self, client: Client) -> None:
        """Follow a change of the namespace array; what it holds is asked for, not taken from a stale message."""
        spaces = await namespaces(client)
        if self._watch is not None and spaces != self._spaces:
            if self._spaces:
                _log.info("namespaces changed", connection=self._connection.name)
                await self._report(await self._watch.rebind())
            self._spaces = spaces

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
        self, client: Client, message: ua.PublishResult, changes: list[DataChanges], before: int, now: int
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
            changes += _data_changes(again or ())
        _log.warning("sequence jump", connection=self._connection.name, subscription=subscription, lost=lost)
        return [Gap(min(before, now), now, "sequence_jump")] if lost else []


async def _first_error(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the first task that fails and raise what it raised; return when all have ended."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        task.result()


def _data_changes(notifications: Iterable[Any]) -> list[DataChanges]:
    """Return the data changes, those that the library decoded included."""
    changes: list[DataChanges] = []
    for notification in notifications:
        if isinstance(notification, ua.DataChangeNotification):
            changes.append(DataChanges.of(notification.MonitoredItems or ()))
        elif isinstance(notification, DataChanges):
            changes.append(notification)
    return changes


def _without_namespaces(changes: list[DataChanges]) -> tuple[list[DataChanges], bool]:
    """Return the changes of tags, and whether the namespace array was among them."""
    tags = [change.without(NAMESPACES) for change in changes]
    changed = sum(map(len, tags)) < sum(map(len, changes))
    return [change for change in tags if len(change)], changed


def _ended(notifications: Iterable[Any]) -> str:
    """Return the status with which the server, or the library for it, ended the subscription; empty if it did not."""
    for notification in notifications:
        if isinstance(notification, ua.StatusChangeNotification) and not notification.Status.is_good():
            return str(notification.Status.name)
    return ""
