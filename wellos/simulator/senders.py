"""How a replay sends the readings of one well, so that nothing is lost on the way.

Nothing is sent before somebody reads it, what a reader lost is sent again, and the next rows wait for the
acknowledgement of the last.

* OPC UA: a well starts when every one of its nodes is monitored, and waits while the server's queues and unconfirmed
  messages hold more than `_MOST_UNCONFIRMED` samples. When its subscription is lost, it goes back to what it sent
  `_REWIND_S` before, like a device that keeps its last minute: what a reader confirmed and lost by dying comes again.
* MQTT: a message without a subscriber is sent again until it has one. While the broker says that it holds more than
  `_MOST_STORED` messages, none is added.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import structlog

from wellos.clock import from_micros
from wellos.simulator.mqtt_client import STORED
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.simulator.mqtt_client import MqttPublisher
    from wellos.simulator.opcua_server import OpcUaServer
    from wellos.simulator.sparkplug import EdgeNode

__all__ = ["Births", "MqttSender", "OpcUaSender", "SparkplugSender", "plain_messages"]

_log = structlog.get_logger(__name__)
_LOOK_AGAIN_S = 0.5
_SETTLE_S = 0.005
_MOST_UNCONFIRMED = 5_000
_MOST_STORED = 20_000
_REWIND_S = 30.0


class OpcUaSender:
    """Sends one well's readings through the OPC UA server."""

    quiet_s: ClassVar[float] = 5.0
    """How long after the last acknowledgement a reader must stay for its well to count as read."""

    def __init__(self, server: OpcUaServer, well: int, rows: int, clock: Clock) -> None:
        """`well` is its position in the server, `rows` how many it has."""
        self.rows = rows
        self._server, self._well, self._clock = server, well, clock
        self._readers: frozenset[int] = frozenset()
        self._sent: deque[tuple[float, int]] = deque()
        self._active_s, self._last_s = 0.0, clock.monotonic()
        self.rewound = 0

    async def permit(self, row: int) -> int:
        """Wait for a subscriber of every node and for room in the queues; go back when one was lost."""
        while True:
            now = self._server.subscribers(self._well)
            if not self._readers <= now:
                row, self._readers = self._back(row), frozenset()
            elif not now:
                await asyncio.sleep(_LOOK_AGAIN_S)
            elif self._server.backlog() > _MOST_UNCONFIRMED:
                self._readers = now
                await asyncio.sleep(_SETTLE_S)
            else:
                self._readers = now
                return row

    def _back(self, row: int) -> int:
        start = self._sent[0][1] if self._sent else row
        self.rewound += row - start
        self._sent.clear()
        _log.info("subscriber lost, sending again", rows=row - start)
        return start

    async def send(self, readings: Readings, row: int) -> None:
        """Write readings one after the other; the server gives each to every subscriber."""
        now = self._clock.monotonic()
        # Time spent waiting for the reader is no time in which it made anything durable.
        self._active_s += min(now - self._last_s, 1.0)
        self._last_s = now
        self._sent.append((self._active_s, row))
        # The first entry is the newest that is old enough, so that going back to it covers the whole span.
        while len(self._sent) > 1 and self._sent[1][0] < self._active_s - _REWIND_S:
            self._sent.popleft()
        await self._server.write(self._well, readings)

    async def finished(self) -> int | None:
        """Wait until all is confirmed and the subscriber has stayed a while."""
        quiet = 0.0
        while quiet < self.quiet_s:
            await asyncio.sleep(_LOOK_AGAIN_S)
            quiet = 0.0 if self._server.backlog() else quiet + _LOOK_AGAIN_S
            if not self._readers <= self._server.subscribers(self._well):
                return await self.permit(self.rows)
        return None


def plain_messages(topic: str, tags: tuple[str, ...], readings: Readings) -> Iterator[tuple[str, bytes]]:
    """Yield one JSON object for each run of readings of one time; `quality` only where a value is not good.

    A reading without a value is `null`, and needs no word of quality.
    """
    if not len(readings):
        return
    cuts = np.flatnonzero((np.diff(readings["time"]) != 0) | (np.diff(readings["tag_id"].astype(np.int64)) <= 0)) + 1
    starts = [0, *cuts.tolist(), len(readings)]
    columns = (readings["tag_id"].tolist(), readings["value"].tolist(), readings["quality"].tolist())
    times = readings["time"]
    for first, end in pairwise(starts):
        values: dict[str, float | None] = {}
        quality: dict[str, str] = {}
        for tag, value, good in zip(*(column[first:end] for column in columns), strict=True):
            number = math.isfinite(value)
            values[tags[tag]] = value if number else None
            if good < 2 and number:
                quality[tags[tag]] = "UNCERTAIN" if good else "BAD"
        moment = from_micros(int(times[first])).isoformat().replace("+00:00", "Z")
        document = {"time": moment, "values": values}
        if quality:
            document["quality"] = quality
        yield topic, json.dumps(document, separators=(",", ":")).encode()


class MqttSender:
    """Sends one well's readings as JSON, one message a row."""

    def __init__(self, publisher: MqttPublisher, topic: str, tags: tuple[str, ...]) -> None:
        """`tags` are named by the readings' `tag_id`."""
        self._publisher, self._topic, self._tags = publisher, topic, tags
        self._read = False
        self.again = 0

    async def permit(self, row: int) -> int:
        """Wait while the broker holds too much."""
        await until(lambda: self._publisher.figures.get(STORED, 0) <= _MOST_STORED)
        return row

    async def send(self, readings: Readings, row: int) -> None:  # noqa: ARG002 - the protocol's signature
        """Publish, and publish again what had no subscriber; the first message goes alone, to find that out."""
        messages = list(plain_messages(self._topic, self._tags, readings))
        while messages:
            some = messages if self._read else messages[:1]
            taken = await self._publisher.publish_all(some)
            refused = [message for message, ok in zip(some, taken, strict=True) if not ok]
            messages = refused + messages[len(some) :]
            self._read = not refused
            if refused:
                self.again += len(refused)
                await asyncio.sleep(_LOOK_AGAIN_S)

    async def finished(self) -> int | None:
        """Nothing is left: the broker has all, for a session that it keeps."""
        return None


class Births:
    """The births of an edge node, given when its host asks, connects anew, or has not heard them."""

    def __init__(self, publisher: MqttPublisher, node: EdgeNode, clock: Clock) -> None:
        """Take over the publisher's commands, connects and will."""
        self._publisher, self._node, self._clock = publisher, node, clock
        self._lock = asyncio.Lock()
        self.heard = False
        self.given = 0
        publisher.will = node.death
        publisher.on_connected = self.give
        publisher.on_command = self._command

    def _command(self, topic: str, payload: bytes) -> None:
        if topic == self._node.command_topic and self._node.asks_for_births(payload):
            self.give()

    def give(self) -> list[asyncio.Future[bool]]:
        """Send NBIRTH and all DBIRTHs."""
        self.given += 1
        return [self._publisher.publish(topic, payload) for topic, payload in self._node.births(self._clock.micros())]

    async def until_heard(self) -> None:
        """Return when a subscriber has had the births; give them until there is one."""
        async with self._lock:
            while not self.heard:
                self.heard = all(await asyncio.gather(*self.give()))
                if not self.heard:
                    await asyncio.sleep(_LOOK_AGAIN_S)


class SparkplugSender:
    """Sends one well's readings as DDATA of its device, many rows a message."""

    def __init__(self, publisher: MqttPublisher, node: EdgeNode, births: Births, device: str, clock: Clock) -> None:
        """`births` are those of the whole node."""
        self._publisher, self._node, self._births = publisher, node, births
        self._device, self._clock = device, clock
        self.again = 0

    async def permit(self, row: int) -> int:
        """Wait while the broker holds too much."""
        await until(lambda: self._publisher.figures.get(STORED, 0) <= _MOST_STORED)
        return row

    async def send(self, readings: Readings, row: int) -> None:  # noqa: ARG002 - the protocol's signature
        """Publish once a host has the births; again, in a new message of the sequence, if it had no subscriber."""
        while True:
            await self._births.until_heard()
            taken = await self._publisher.publish(*self._node.data(self._device, readings, self._clock.micros()))
            if taken:
                return
            self.again += 1
            self._births.heard = False
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def finished(self) -> int | None:
        """Nothing is left: the broker has all, for a session that it keeps."""
        return None
