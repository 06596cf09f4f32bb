"""A subscription that ends, by the server's word or the library's: what came beside it counts, silence does not."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from streaming.adapters.opcua import OpcUaAdapter
from streaming.adapters.opcua_history import HistoryFill
from streaming.delivery import ConnectionLost, Status
from tests.adapters.test_opcua_adapter import connection_to
from tests.fix_adapters import Collector
from wellos.clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD_BEFORE_US = 1_700_000_000_000_000


def message(subscription: int, sequence: int, *content: object) -> ua.PublishResult:
    result = ua.PublishResult(ua.IntegerId(subscription))
    result.NotificationMessage.SequenceNumber = ua.Counter(sequence)
    result.NotificationMessage.NotificationData = list(content)
    return result


def change() -> ua.DataChangeNotification:
    stamp: Any = datetime.now(UTC)
    value = ua.DataValue(ua.Variant(7.0), SourceTimestamp=stamp)
    return ua.DataChangeNotification(MonitoredItems=[ua.MonitoredItemNotification(ua.IntegerId(0), value)])


def ended(code: int) -> ua.StatusChangeNotification:
    return ua.StatusChangeNotification(Status=ua.StatusCode(ua.UInt32(code)))


class Late(WallClock):
    """A clock that can be set on."""

    later_us = 0

    def micros(self) -> int:
        return super().micros() + self.later_us


async def delivered(results: Sequence[ua.PublishResult], reason: str) -> tuple[Collector, Status, int]:
    """Hand messages to an adapter as one batch, a minute after they came; also return how many are acknowledged."""
    collector, status, clock = Collector(), Status(heard_us=WORD_BEFORE_US), Late()
    adapter = OpcUaAdapter(connection_to(1, "a"), clock, status)
    client: Any = None
    adapter._emit = collector.emit
    adapter._fill = HistoryFill(client, adapter._items, adapter._config, clock, status, 3, collector.emit)
    received = [asyncio.create_task(adapter._received(result)) for result in results]
    await asyncio.sleep(0)
    clock.later_us = 60_000_000
    with pytest.raises(ConnectionLost, match=reason):
        await adapter._deliver(client)
    done, left = await asyncio.wait(received, timeout=30)
    for task in left:
        task.cancel()
    return collector, status, len(done)


async def test_messages_of_other_subscriptions_in_the_batch_are_handed_on() -> None:
    batch = [message(1, 5, ended(StatusCodes.BadTimeout)), message(2, 9, change())]
    collector, status, acknowledged = await delivered(batch, "the server ended the subscription: BadTimeout")
    assert collector.values(100) == [7.0]
    assert acknowledged == len(batch)
    assert WORD_BEFORE_US < status.heard_us <= WallClock().micros(), "a word is as old as its receipt"


async def test_the_librarys_own_word_is_none_of_the_server() -> None:
    collector, status, _ = await delivered(
        [message(1, 0, ended(StatusCodes.BadShutdown))], "the link broke, or the server answers no longer"
    )
    assert status.heard_us == WORD_BEFORE_US
    assert not collector.gaps
