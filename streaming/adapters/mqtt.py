"""MQTT client: a persistent session, messages decoded in batches and acknowledged once they are durable."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from streaming.adapters.mqtt_link import SESSION_EXPIRY_S, Link
from streaming.adapters.mqtt_payload import PlainDecoder
from streaming.adapters.rows import PayloadError, Rows
from streaming.adapters.sparkplug_decode import SparkplugDecoder, rebirth_request
from streaming.adapters.tags import TagColumns
from streaming.delivery import Delivery
from wellos.errors import ConfigurationError
from wellos.protocols.mqtt import MqttConfig, parse_sparkplug
from wellos.protocols.mqtt_topics import covers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from streaming.adapters.mqtt_wire import Message
    from streaming.delivery import Rejected, Status
    from wellos.clock import Clock
    from wellos.registry import Connection

__all__ = ["MqttAdapter"]

_log = structlog.get_logger(__name__)
_MESSAGES_A_DELIVERY = 500
_LEFT_BEHIND = 1000
"""Subscriptions of an earlier life that are given up, at most, in one."""


@dataclass(slots=True)
class _Unsettled:
    """Messages that are on their way to the disk."""

    messages: list[Message]
    durable: bool = False


@dataclass(slots=True)
class _Reading:
    """How messages become readings, as one state of the registry has it."""

    connection: Connection
    config: MqttConfig
    filters: tuple[str, ...]
    tags: TagColumns
    plain: PlainDecoder | None
    sparkplug: SparkplugDecoder | None

    @property
    def session(self) -> str:
        """The client's name at the broker."""
        return self.config.client_id or f"wellos-{self.connection.tenant}-{self.connection.name}"

    def continues(self, other: _Reading) -> bool:
        """Whether all but tags and topics is as in the other."""
        same = {"subscribe": (), "topics": ()}
        ours, theirs = self.config.model_copy(update=same), other.config.model_copy(update=same)
        return ours == theirs and self.session == other.session

    def wants(self, topic: str) -> bool:
        """Whether one of our subscriptions delivers the topic."""
        return any(covers(self._bare(name), topic) for name in self.filters)

    def filter_of(self, topic: str) -> str:
        """Return the filter that an address with this topic would have asked for."""
        parts = topic.split("/")
        name = f"{parts[0]}/{parts[1]}/+/{parts[3]}/#" if self.sparkplug and len(parts) > 3 else topic  # noqa: PLR2004
        return f"$share/{self.config.group}/{name}" if self.config.group else name

    def _bare(self, name: str) -> str:
        return name.split("/", 2)[2] if self.config.group else name


def _reading(connection: Connection) -> _Reading:
    config = MqttConfig.parse(connection.config)
    tags = TagColumns(connection.tags)
    if config.payload == "plain":
        plain = PlainDecoder(config, connection.tenant, connection.tags)
        return _Reading(connection, config, plain.filters, tags, plain, None)
    addresses = [parse_sparkplug(tag.address) for tag in connection.tags]
    sparkplug = SparkplugDecoder(addresses, [tag.tag_id for tag in connection.tags])
    return _Reading(connection, config, config.filters(addresses), tags, None, sparkplug)


class MqttAdapter:
    """Client of one broker, for the tags of one connection."""

    loss_window = (
        "Nothing that is published at QoS 1 and that the broker keeps for us: it is acknowledged only when durable. "
        "Lost is what is published at QoS 0 (as Sparkplug B has it) while we are away, of which Sparkplug and qos 0 "
        "leave a gap, and what the broker drops when its queue for us is full or expired."
    )

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._clock = clock
        self._status = status
        self._reading = _reading(connection)
        self._link: Link | None = None
        self._left: set[str] = set()
        self._unsettled: deque[_Unsettled] = deque()

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect and deliver until cancelled; ConnectionLost when the broker goes or refuses us."""
        link = Link(self._reading.config, self._reading.session)
        try:
            kept = await link.open(self._reading.filters)
            now = self._clock.micros()
            # The broker keeps nothing that goes at QoS 0, as Sparkplug has it, for a client that is away.
            complete = kept and self._reading.config.qos and not self._reading.sparkplug
            gaps = () if complete else self._status.outage(now, "disconnected" if kept else "session_lost")
            self._status.heard_us = now
            self._status.become("connected", now)
            self._link = link
            if link.session_expiry_s < SESSION_EXPIRY_S:
                _log.warning(
                    "the broker keeps our session for a shorter time than asked",
                    connection=self._reading.connection.name,
                    seconds=link.session_expiry_s,
                )
            if gaps:
                await emit(Delivery(self._reading.connection.connection_id, now, gaps=gaps))
            if self._reading.sparkplug:
                self._ask(link, self._reading.sparkplug.begin(now), now)
            while True:
                messages = await link.messages(_MESSAGES_A_DELIVERY)
                if messages:
                    await self._deliver(link, messages, emit)
                    # What waits in the inbox is taken without waiting, and others want to run.
                    await asyncio.sleep(0)
                else:
                    self._status.heard_us = self._clock.micros()
        finally:
            connected, self._link = self._link is not None, None
            if connected and not link.timed_out:
                self._status.heard_us = self._clock.micros()
            await link.close()

    async def change(self, connection: Connection) -> bool:
        """Take over other tags and topics: what is new is subscribed to, what is gone no longer, the rest untouched."""
        link, old = self._link, self._reading
        if link is None:
            return False
        try:
            new = _reading(connection)
        except ConfigurationError:
            return False  # A new adapter says so, in the connection's status.
        gone = sorted(set(old.filters) - set(new.filters))
        if not new.continues(old):
            if (new.config.url, new.session) == (old.config.url, old.session):
                # The next adapter continues the session, and would be sent what nobody reads any more.
                link.subscribe((), gone)
            return False
        self._reading = new
        link.subscribe(sorted(set(new.filters) - set(old.filters)), gone)
        if new.sparkplug and old.sparkplug:
            now = self._clock.micros()
            self._ask(link, new.sparkplug.continue_from(old.sparkplug, now), now)
        return True

    def _ask(self, link: Link, nodes: Iterable[tuple[str, str]], now_us: int) -> None:
        for node in nodes:
            _log.info("rebirth requested", connection=self._reading.connection.name, group=node[0], node=node[1])
            link.publish(*rebirth_request(node, now_us))

    async def _deliver(self, link: Link, messages: list[Message], emit: Callable[[Delivery], Awaitable[None]]) -> None:
        now = self._clock.micros()
        self._status.heard_us = now
        reading, rows = self._reading, Rows()
        asked = []
        for message in messages:
            if message.size > len(message.payload):
                error = PayloadError("too_large", f"{message.size} bytes")
                rows.reject(error, message.topic, message.payload)
            elif reading.plain:
                reading.plain.decode(message.topic, message.payload, now, rows, retained=message.retained)
            elif reading.sparkplug:
                asked.append(
                    reading.sparkplug.decode(message.topic, message.payload, now, rows, repeated=message.repeated)
                )
        self._ask(link, [node for node in asked if node], now)
        self._leave(link, rows.rejected)
        readings = rows.readings(reading.tags)
        unsettled = _Unsettled(messages)
        self._unsettled.append(unsettled)
        settle = partial(self._settle, link, unsettled)
        if not (len(readings) or rows.rejected or rows.gaps or rows.filled):
            settle()
            return
        if len(readings):
            self._status.last_reading_us = now
        number = reading.connection.connection_id
        found = (tuple(rows.rejected), tuple(rows.gaps), settle, tuple(rows.filled))
        await emit(Delivery(number, now, readings, *found))

    def _settle(self, link: Link, item: _Unsettled) -> None:
        """Acknowledge what is durable, in the order in which it came, as the protocol wants it (4.6)."""
        item.durable = True
        ready: list[Message] = []
        while self._unsettled and self._unsettled[0].durable:
            ready += self._unsettled.popleft().messages
        link.acknowledge(ready)

    def _leave(self, link: Link, rejected: Sequence[Rejected]) -> None:
        """Give up what the session still subscribes to from before the registry changed while we were away."""
        for topic in {item.source for item in rejected if item.reason == "unknown_tag"} - self._left:
            if not self._reading.wants(topic) and len(self._left) < _LEFT_BEHIND:
                self._left.add(topic)
                link.subscribe((), [self._reading.filter_of(topic)])
