"""MQTT client: a persistent session, messages decoded in batches and acknowledged once they are durable."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from streaming.adapters.mqtt_link import Link, Message
from streaming.adapters.mqtt_payload import PlainDecoder
from streaming.adapters.rows import Rows
from streaming.adapters.sparkplug_decode import SparkplugDecoder, rebirth_request
from streaming.adapters.tags import TagColumns
from streaming.delivery import Delivery
from wellos.protocols.mqtt import MqttConfig, parse_address

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streaming.delivery import Status
    from wellos.clock import Clock
    from wellos.protocols.mqtt import MqttAddress, SparkplugAddress
    from wellos.registry import Connection

__all__ = ["MqttAdapter"]

_log = structlog.get_logger(__name__)
_MESSAGES_A_DELIVERY = 500


class MqttAdapter:
    """Client of one broker, for the tags of one connection."""

    loss_window = (
        "Nothing that the broker took for us at QoS 1 and keeps: it is acknowledged only when durable. Lost is what is "
        "published at QoS 0 while we are away, and what the broker drops when its queue for us is full or expired."
    )

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse configuration and addresses; ConfigurationError names what is wrong."""
        self._connection = connection
        self._clock = clock
        self._status = status
        self._config = MqttConfig.parse(connection.config)
        addresses = [parse_address(tag.address, self._config.payload) for tag in connection.tags]
        self._filters = self._config.filters(addresses)
        self._tags = TagColumns(connection.tags)
        self._sparkplug: SparkplugDecoder | None = None
        if self._config.payload == "sparkplug":
            tag_ids = [tag.tag_id for tag in connection.tags]
            self._sparkplug = SparkplugDecoder(cast("list[SparkplugAddress]", addresses), tag_ids)
        self._plain = PlainDecoder(
            [] if self._sparkplug else cast("list[MqttAddress]", addresses),
            self._config.time_pointer,
            self._config.quality_pointer,
        )

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect and deliver until cancelled; ConnectionLost when the broker goes or refuses us."""
        name = self._config.client_id or f"wellos-{self._connection.tenant}-{self._connection.name}"
        link = Link(self._config, name)
        connected = False
        try:
            kept = await link.open(self._filters)
            now = self._clock.micros()
            # At QoS 0 the broker keeps nothing for a client that is away, session or not.
            gaps = () if kept and self._config.qos else self._status.outage(now, "session_lost")
            self._status.heard_us = now
            self._status.become("connected", now)
            connected = True
            if gaps:
                await emit(Delivery(self._connection.connection_id, now, gaps=gaps))
            for node in self._sparkplug.begin(now) if self._sparkplug else ():
                link.publish(*rebirth_request(node, now))
            while True:
                messages = await link.messages(_MESSAGES_A_DELIVERY)
                if messages:
                    await self._deliver(link, messages, emit)
        finally:
            if connected and not link.timed_out:
                self._status.heard_us = self._clock.micros()
            await link.close()

    async def change(self, connection: Connection) -> bool:
        """Take over no change while running: a new adapter does it."""
        return connection == self._connection

    async def _deliver(
        self, link: Link, messages: Sequence[Message], emit: Callable[[Delivery], Awaitable[None]]
    ) -> None:
        now = self._clock.micros()
        self._status.heard_us = now
        rows = Rows()
        for message in messages:
            if self._sparkplug is None:
                self._plain.decode(message.topic, message.payload, now, rows, retained=message.retained)
                continue
            ask = self._sparkplug.decode(message.topic, message.payload, now, rows, repeated=message.repeated)
            if ask is not None:
                _log.info("rebirth requested", connection=self._connection.name, group=ask[0], node=ask[1])
                link.publish(*rebirth_request(ask, now))
        readings = rows.readings(self._tags)
        settle = partial(link.acknowledge, messages)
        if not len(readings) and not rows.rejected and not rows.gaps:
            settle()
            return
        if len(readings):
            self._status.last_reading_us = now
        delivery = Delivery(
            self._connection.connection_id, now, readings, tuple(rows.rejected), tuple(rows.gaps), settle
        )
        await emit(delivery)
