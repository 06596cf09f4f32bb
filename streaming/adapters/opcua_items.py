"""The monitored items of one session: which tag each client handle means, and what a changed set of tags touches.

A handle is never used again within a session: a notification that was on its way when its tag changed still finds the
tag it was measured for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from streaming.adapters.opcua_session import Wanted
from streaming.adapters.tags import TagColumns
from wellos.protocols.opcua import parse_address

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua import ua

    from wellos.protocols.opcua import OpcUaAddress, OpcUaConfig
    from wellos.registry import Tag

__all__ = ["Changes", "Item", "Items"]


@dataclass(slots=True)
class Item:
    """One tag under one client handle."""

    handle: int
    tag: Tag
    address: OpcUaAddress
    live: bool = True
    """False: its tag is gone or has another handle now."""
    node: ua.NodeId | None = None
    subscription: int = 0
    item_id: int = 0
    """The server's number of it; 0: not monitored."""
    refused_us: int = 0
    """Since when the server refuses it; 0: it does not."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What a new set of tags means for the items."""

    added: tuple[Tag, ...] = ()
    removed: tuple[Item, ...] = ()
    modified: tuple[Item, ...] = ()
    """Already hold their new tag; the server is to be told how they are sampled now."""


class Items:
    """Every item of a session by its handle."""

    def __init__(self, tags: Sequence[Tag], config: OpcUaConfig) -> None:
        """ConfigurationError names an address that is none."""
        self._config = config
        self._items: list[Item] = []
        self.columns = TagColumns(())
        self.names: list[str] = []
        self.last_us = np.zeros(0, dtype=np.int64)
        """Newest source time seen of each handle, microseconds, 0 for none."""
        self.add(tags)

    def __len__(self) -> int:
        """Return how many handles there are, live or not."""
        return len(self._items)

    def add(self, tags: Sequence[Tag]) -> list[Item]:
        """Give each tag a handle."""
        first = len(self._items)
        new = [Item(first + at, tag, parse_address(tag.address)) for at, tag in enumerate(tags)]
        self._items += new
        self.names += [tag.address for tag in tags]
        self.last_us = np.concatenate([self.last_us, np.zeros(len(new), dtype=np.int64)])
        self._relabel()
        return new

    def live(self) -> list[Item]:
        """Return the items whose tags are in use."""
        return [item for item in self._items if item.live]

    def refused(self) -> list[Item]:
        """Return the items in use that the server refuses."""
        return [item for item in self._items if item.live and item.refused_us]

    def of(self, handle: int) -> Item:
        """Return an item; IndexError for a handle that was never given."""
        return self._items[handle]

    def load(self) -> dict[int, int]:
        """Return how many items are monitored in each subscription."""
        load: dict[int, int] = {}
        for item in self._items:
            if item.item_id:
                load[item.subscription] = load.get(item.subscription, 0) + 1
        return load

    def change(self, tags: Sequence[Tag]) -> Changes:
        """Take over a new set of tags; return what has to be done at the server. ConfigurationError: nothing changed.

        Another address is another item: the tag's old one goes once the new one is there. A tag that only means
        something else (scale, unit, limits) is relabelled, and the server hears nothing of it.
        """
        for tag in tags:
            parse_address(tag.address)
        wanted = {tag.tag_id: tag for tag in tags}
        modified, removed = [], []
        for item in self.live():
            new = wanted.get(item.tag.tag_id)
            if new is None or new.address != item.tag.address:
                item.live = False
                removed.append(item)
                continue
            del wanted[new.tag_id]
            before, item.tag = self.wanted(item), new
            if self.wanted(item) != before and item.item_id:
                modified.append(item)
        self._relabel()
        return Changes(tuple(wanted.values()), tuple(removed), tuple(modified))

    def wanted(self, item: Item) -> Wanted:
        """Return how the server is asked to monitor an item."""
        config, tag = self._config, item.tag
        by_tag = config.sample_by_interval and tag.mode == "poll"
        sampling_ms = tag.interval_s * 1000 if by_tag else config.sampling_interval_ms
        absolute, percent = 0.0, 0.0
        if config.deadband == "percent" and tag.low is not None and tag.high is not None and tag.high > tag.low:
            percent = min(100.0, 100 * tag.deadband / (tag.high - tag.low))
        elif config.deadband != "device" and tag.scale:
            absolute = tag.deadband / abs(tag.scale)
        return Wanted(item.handle, item.node, sampling_ms, config.queue_size, absolute, percent)

    def _relabel(self) -> None:
        self.columns = TagColumns([item.tag for item in self._items])
