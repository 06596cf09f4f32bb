"""Closes gaps from the server's own history, beside live data: one page at a time, each durable before the next.

Readings carry `Flag.HISTORICAL`. A gap is closed by a `Filled` that goes into the spool behind its readings; a long one
is filled in windows, and after each the row of the whole is closed and one of the rest is opened, so that a restart
goes on from there. What a server has no history of stays open.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import structlog
from asyncua import ua
from asyncua.ua.status_codes import StatusCodes, get_name_and_doc
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from streaming.adapters.opcua_changes import DataChanges
from streaming.adapters.opcua_decode import decode
from streaming.adapters.opcua_pages import MOST_NODES, VALUES_AT_ONCE, Cursor, group_size
from streaming.adapters.opcua_session import keeps_history, read_history
from streaming.delivery import Delivery, Filled, Gap
from wellos.errors import RetryableError
from wellos.readings import Flag

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from asyncua.client.client import Client

    from streaming.adapters.opcua_items import Item, Items
    from streaming.adapters.opcua_session import HistoryPage
    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.protocols.opcua import OpcUaConfig

__all__ = ["HistoryFill"]

_log = structlog.get_logger(__name__)
_NAP_S = 0.5
_MOST_OPEN = 1000
_NO_HISTORY = frozenset(
    {
        StatusCodes.BadHistoryOperationUnsupported,
        StatusCodes.BadHistoryOperationInvalid,
        StatusCodes.BadServiceUnsupported,
        StatusCodes.BadNotImplemented,
        StatusCodes.BadNotSupported,
        StatusCodes.BadNotReadable,
        StatusCodes.BadUserAccessDenied,
    }
)
_GOOD_NO_DATA = StatusCodes.GoodNoData
_FAULT = 0x8000_0000


@dataclass(slots=True)
class _Open:
    """A gap that is not closed yet, and when it is tried next."""

    gap: Gap
    due_us: int
    pause_s: float
    nothing_us: int = 0
    """Up to here the history holds nothing; 0: not known."""


class HistoryFill:
    """The gaps of one session."""

    window_us: ClassVar[int] = 3_600_000_000
    """Longest span that is filled in one go."""
    retry_s: ClassVar[float] = 60.0
    """Seconds to the second try of a gap, doubled for each further one; and between two looks at the database."""
    longest_retry_s: ClassVar[float] = 3600.0

    def __init__(
        self,
        client: Client,
        items: Items,
        config: OpcUaConfig,
        clock: Clock,
        status: Status,
        connection_id: int,
        emit: Callable[[Delivery], Awaitable[None]],
    ) -> None:
        """No I/O yet."""
        self._client, self._items, self._config = client, items, config
        self._clock, self._status = clock, status
        self._connection_id, self._emit = connection_id, emit
        self._margin_us = int(config.history_margin_s * 1e6)
        self._open: dict[tuple[int, int, int | None], _Open] = {}
        self._done: set[tuple[int, int, int | None]] = set()
        self._without: set[int] = set()
        """Handles of nodes that have no history."""
        self._probed: set[int] = set()
        self._recall_at = 0.0
        self._most_nodes = MOST_NODES
        self.unsupported = False

    def want(self, gaps: Iterable[Gap]) -> None:
        """Take gaps to be filled; those beyond a thousand wait in the database."""
        for gap in gaps:
            key = _key(gap)
            if key not in self._done and key not in self._open and len(self._open) < _MOST_OPEN:
                self._open[key] = _Open(gap, gap.end_us + self._margin_us, self.retry_s)

    async def run(self) -> None:
        """Fill until cancelled, or until the server says that it keeps no history at all."""
        while not self.unsupported:
            await self._recall()
            now = self._clock.micros()
            due = [item for item in self._open.values() if item.due_us <= now]
            if not due:
                await asyncio.sleep(_NAP_S)
                continue
            await self._try(min(due, key=lambda item: item.gap.start_us))
        _log.info("the server keeps no history: its gaps stay open", server=self._config.url)

    async def _recall(self) -> None:
        if self._status.recall is None or self._clock.monotonic() < self._recall_at:
            return
        self._recall_at = self._clock.monotonic() + self.retry_s
        try:
            self.want(await self._status.recall())
        except RetryableError as error:
            _log.debug("open gaps are not known yet", reason=str(error))

    async def _try(self, item: _Open) -> None:
        try:
            if await self._fill(item):
                return
            reason = "nothing in the server's history"
        except UaStatusCodeError as error:
            if error.code == StatusCodes.BadTooManyOperations and self._most_nodes > 1:
                self._most_nodes //= 2
                return
            self.unsupported = error.code in _NO_HISTORY
            reason = str(error)
        except (UaError, TimeoutError, ConnectionError) as error:
            # A link that is lost is noticed where live data is awaited.
            reason = str(error) or type(error).__name__
        item.due_us = self._clock.micros() + int(item.pause_s * 1e6)
        item.pause_s = min(2 * item.pause_s, self.longest_retry_s)
        _log.debug("gap not filled", server=self._config.url, reason=reason, again_s=item.pause_s)

    async def _fill(self, item: _Open) -> bool:
        """Fill the next window of a gap; false when all of it was asked for and nothing came."""
        gap = item.gap
        items = [one for one in self._items.live() if gap.tag_id in (None, one.tag.tag_id)]
        await self._probe(items)
        able = [one for one in items if one.handle not in self._without and one.node is not None and one.item_id]
        if not able:
            item.pause_s = self.longest_retry_s
            return False
        start_us = item.nothing_us or gap.start_us
        # A window may be half as long again: no sliver is left in which nothing happened.
        end_us = gap.end_us if gap.end_us - start_us <= 1.5 * self.window_us else start_us + self.window_us
        asked = (start_us - self._margin_us, end_us + self._margin_us)
        interval_s = min(one.tag.interval_s for one in able)
        size = group_size(asked[1] - asked[0], interval_s, self._most_nodes)
        count, failed = 0, set[int]()
        for first in range(0, len(able), size):
            got, bad = await self._read(able[first : first + size], *asked)
            count += got
            failed |= bad
        if count:
            unable = [one for one in items if one not in able or one.handle in failed]
            await self._close(item, start_us, end_us, unable)
            _log.info("gap filled from history", server=self._config.url, reason=gap.reason, readings=count)
            return True
        item.nothing_us = 0 if len(failed) == len(able) or end_us == gap.end_us else end_us
        return bool(item.nothing_us)

    async def _probe(self, items: Sequence[Item]) -> None:
        """Ask once which nodes have a history."""
        new = [(one.handle, one.node) for one in items if one.node is not None and one.handle not in self._probed]
        if new:
            answers = await keeps_history(self._client, [node for _, node in new])
            self._probed |= {handle for handle, _ in new}
            self._without |= {handle for (handle, _), kept in zip(new, answers, strict=True) if not kept}

    async def _read(self, items: Sequence[Item], start_us: int, end_us: int) -> tuple[int, set[int]]:
        """Read one group of nodes to its end.

        Return how many readings came that are not of the margins, and the handles of the nodes that failed.
        """
        cursors = [Cursor(one.handle, one.node, start_us, end_us) for one in items if one.node is not None]
        count, failed = 0, set[int]()
        while cursors:
            most = VALUES_AT_ONCE // len(cursors)
            first_us = cursors[0].start_us
            together = [one for one in cursors if one.start_us == first_us]
            wanted = [(one.node, one.more) for one in together]
            pages = await read_history(self._client, wanted, first_us, end_us, most)
            for cursor, page in zip(together, pages, strict=True):
                if page.status & _FAULT:
                    failed.add(cursor.handle)
                    self._refused(cursor, page.status)
                    cursor.ended = True
                else:
                    cursor.turn(page.values, page.more, most)
            count += await self._deliver(together, pages, start_us, end_us)
            failed |= {one.handle for one in together if one.endless}
            cursors = [one for one in cursors if not one.ended]
        return count, failed

    def _refused(self, cursor: Cursor, status: int) -> None:
        if status in _NO_HISTORY:
            self._without.add(cursor.handle)
        address = self._items.of(cursor.handle).tag.address
        _log.debug("no history", node=address, status=get_name_and_doc(status)[0])

    async def _deliver(
        self, cursors: Sequence[Cursor], pages: Sequence[HistoryPage], start_us: int, end_us: int
    ) -> int:
        """Hand on one answer, wait until it is durable, and keep to the rate.

        Return how many readings it held between the margins: those in them say nothing of the gap.
        """
        notifications = [
            ua.MonitoredItemNotification(ua.IntegerId(cursor.handle), value)
            for cursor, page in zip(cursors, pages, strict=True)
            for value in page.values
        ]
        if not notifications:
            return 0
        began, now = self._clock.monotonic(), self._clock.micros()
        changes = [DataChanges.of(notifications)]
        found = decode(changes, self._items.columns, self._items.names, now, also=Flag.HISTORICAL)
        time = found.readings["time"]
        # Bounds, or a server that ignores what it was asked for.
        readings = found.readings[(time >= start_us) & (time <= end_us)]
        await self._durably(Delivery(self._connection_id, now, readings, found.rejected))
        spent = self._clock.monotonic() - began
        await asyncio.sleep(max(0.0, len(notifications) / self._config.history_per_s - spent))
        inner = (time >= start_us + self._margin_us) & (time <= end_us - self._margin_us)
        return int(inner.sum())

    async def _close(self, item: _Open, start_us: int, end_us: int, unable: Sequence[Item]) -> None:
        """Close the row of the gap; open others for the rest of its time, and for tags that have no history.

        The sink closes every row that lies within what is filled, so these are a microsecond longer.
        """
        gap = item.gap
        left = [Gap(start_us - 1, end_us, gap.reason, one.tag.tag_id) for one in unable]
        if start_us > gap.start_us:
            left.append(Gap(gap.start_us - 1, start_us, gap.reason, gap.tag_id))
        rest = Gap(end_us, gap.end_us + 1, gap.reason, gap.tag_id) if end_us < gap.end_us else None
        span = Filled(gap.start_us, gap.end_us, gap.tag_id)
        gaps = tuple(left) if rest is None else (*left, rest)
        await self._durably(Delivery(self._connection_id, self._clock.micros(), gaps=gaps, filled=(span,)))
        # Those without history are found in the database by the next session, which may know better.
        self._done |= {_key(one) for one in (gap, *left)}
        del self._open[_key(gap)]
        if rest is not None:
            self._open[_key(rest)] = replace(item, gap=rest, due_us=0, nothing_us=0)

    async def _durably(self, delivery: Delivery) -> None:
        """Emit as what can be waited for, so that a full spool does not shed it, and wait for it."""
        durable = asyncio.Event()
        delivery.settle = durable.set
        await self._emit(delivery)
        await durable.wait()


def _key(gap: Gap) -> tuple[int, int, int | None]:
    return gap.start_us, gap.end_us, gap.tag_id
