"""The subscriptions of one session: items are created, tried again, changed and moved while notifications flow."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from asyncua.ua.status_codes import get_name_and_doc

from streaming.adapters.opcua_session import (
    create_subscription,
    monitor,
    node_ids,
    remonitor,
    unmonitor,
    watch_namespaces,
)
from streaming.delivery import Gap

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncua import ua
    from asyncua.client.client import Client

    from streaming.adapters.opcua_items import Item, Items
    from wellos.clock import Clock
    from wellos.protocols.opcua import OpcUaConfig
    from wellos.registry import Tag

__all__ = ["News", "Watch"]

_log = structlog.get_logger(__name__)
_ITEMS_A_SUBSCRIPTION = 1000


@dataclass(slots=True)
class News:
    """What became known while nodes were asked for."""

    refused: list[tuple[Item, int]] = field(default_factory=list)
    """Items refused for the first time, with the server's status code."""
    gaps: list[Gap] = field(default_factory=list)
    """Of items that the server lets us monitor again."""

    def __bool__(self) -> bool:
        """Tell whether there is anything to report."""
        return bool(self.refused or self.gaps)


class Watch:
    """One session's monitored items. Its methods exclude each other."""

    def __init__(
        self,
        client: Client,
        items: Items,
        config: OpcUaConfig,
        clock: Clock,
        received: Callable[[ua.PublishResult], Awaitable[None]],
    ) -> None:
        """`received` is given every message; no I/O yet."""
        self._client, self._items, self._config = client, items, config
        self._clock, self._received = clock, received
        self._lock = asyncio.Lock()
        self.subscriptions: list[int] = []
        """May be set before anything is asked for: those taken over from a broken link."""

    async def start(self) -> News:
        """Monitor every item. OSError, TimeoutError and UaError as the session raises them."""
        async with self._lock:
            news = await self._monitor(self._items.live())
            if self.subscriptions and any(item.address.namespace_uri is not None for item in self._items.live()):
                await watch_namespaces(self._client, self.subscriptions[0])
            return news

    async def retry(self) -> News:
        """Try the refused items again: they may appear when the server's project is changed."""
        async with self._lock:
            return await self._monitor(self._items.refused())

    async def rebind(self) -> News:
        """Look namespace URIs up again, and move the items whose nodes have another index now."""
        async with self._lock:
            items = [item for item in self._items.live() if item.address.namespace_uri is not None]
            nodes = await node_ids(self._client, [item.address for item in items])
            moved = [item for item, node in zip(items, nodes, strict=True) if node != item.node]
            gone = [(item.subscription, item.item_id) for item in moved if item.item_id]
            for item in moved:
                item.item_id = 0
            news = await self._monitor(moved)
            for subscription, item_id in gone:
                await unmonitor(self._client, subscription, [item_id])
            return news

    async def change(self, tags: Sequence[Tag]) -> News:
        """Take over a new set of tags; items of tags that did not change are not touched.

        New items come first, then old ones go: a tag under a new address is never without one.
        """
        async with self._lock:
            changes = self._items.change(tags)
            news = await self._monitor(self._items.add(changes.added))
            for subscription, modified in _grouped(changes.modified).items():
                asked = [(item.item_id, self._items.wanted(item)) for item in modified]
                statuses = await remonitor(self._client, subscription, asked)
                await self._replace([item for item, status in zip(modified, statuses, strict=True) if status])
            await self._unmonitor(changes.removed)
            return news

    async def _replace(self, items: Sequence[Item]) -> None:
        """Make anew what the server would not modify: creating goes step by step to what it can do."""
        old = [(item.subscription, item.item_id) for item in items]
        await self._monitor(items)
        for subscription, item_id in old:
            await unmonitor(self._client, subscription, [item_id])

    async def _monitor(self, items: Sequence[Item]) -> News:
        nodes = await node_ids(self._client, [item.address for item in items])
        for item, node in zip(items, nodes, strict=True):
            item.node = node
        news = News()
        waiting = list(items)
        while waiting:
            subscription, room = await self._room()
            chunk, waiting = waiting[:room], waiting[room:]
            fates = await monitor(self._client, subscription, [self._items.wanted(item) for item in chunk])
            now = self._clock.micros()
            for item, fate in zip(chunk, fates, strict=True):
                if fate.status:
                    self._refused(item, fate.status, now, news)
                    continue
                item.subscription, item.item_id = subscription, fate.item_id
                if item.refused_us:
                    news.gaps.append(Gap(item.refused_us, now, "node_refused", item.tag.tag_id))
                    item.refused_us = 0
        return news

    def _refused(self, item: Item, status: int, now_us: int, news: News) -> None:
        if item.refused_us:
            return
        item.refused_us, item.item_id = now_us, 0
        news.refused.append((item, status))
        _log.warning("node refused", server=self._config.url, node=item.tag.address, status=get_name_and_doc(status)[0])

    async def _room(self) -> tuple[int, int]:
        """Return a subscription and how many more items it takes; a new one where all are full."""
        load = self._items.load()
        for subscription in self.subscriptions:
            room = _ITEMS_A_SUBSCRIPTION - load.get(subscription, 0)
            if room > 0:
                return subscription, room
        created = await create_subscription(self._client, self._config, self._received)
        self.subscriptions.append(created)
        return created, _ITEMS_A_SUBSCRIPTION

    async def _unmonitor(self, items: Iterable[Item]) -> None:
        for subscription, gone in _grouped(item for item in items if item.item_id).items():
            await unmonitor(self._client, subscription, [item.item_id for item in gone])
            for item in gone:
                item.item_id = 0


def _grouped(items: Iterable[Item]) -> dict[int, list[Item]]:
    grouped: dict[int, list[Item]] = {}
    for item in items:
        grouped.setdefault(item.subscription, []).append(item)
    return grouped
