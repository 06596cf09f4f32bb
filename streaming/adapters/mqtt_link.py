"""One connection to an MQTT broker: messages in an inbox, acknowledgement by hand, kept alive, given up when silent.

Reading pauses while the inbox is full, in messages or in bytes, so that a broker that knows no receive maximum is held
back by TCP. Nothing here knows what a message means.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from streaming.adapters import mqtt_wire as wire
from streaming.adapters.mqtt_tls import tls_context, tls_reason
from streaming.delivery import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.adapters.mqtt_wire import Message
    from wellos.protocols.mqtt import MqttConfig

__all__ = ["RECEIVE_MAXIMUM", "SESSION_EXPIRY_S", "Link"]

RECEIVE_MAXIMUM = 1000
"""Most messages the broker may have in flight to us, unacknowledged."""
SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long the broker keeps the session, and what comes for it, while we are away."""
MAX_MESSAGE_BYTES = 5 << 20
"""Longer messages are cut while they come: above what any decoder takes."""

_KEEP_ALIVE_S = 20
_CONNECT_TIMEOUT_S = 10.0
_GOODBYE_S = 1.0
_INBOX_FULL = 2 * RECEIVE_MAXIMUM
_INBOX_FULL_BYTES = 32 << 20
_DELIVERY_BYTES = 256 << 10
"""What is decoded in one go: some milliseconds' work, in which nothing else of the process runs."""
_FILTERS_A_PACKET = 100
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_MIDS = 65_535


class Link(asyncio.Protocol):
    """For one life of a TCP connection."""

    def __init__(self, config: MqttConfig, client_id: str) -> None:
        """Resolve credentials and certificates; ConfigurationError names what is not there."""
        self._config, self._client_id = config, client_id
        self._credentials = config.credentials()
        self._tls = tls_context(config)
        self._loop = asyncio.get_running_loop()
        self._reader = wire.PacketReader(config.version, MAX_MESSAGE_BYTES)
        self._inbox: deque[Message] = deque()
        self._inbox_bytes = 0
        self._wake = asyncio.Event()
        self._connected: asyncio.Future[bool] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._tick: asyncio.TimerHandle | None = None
        self._keep_alive_s: float = _KEEP_ALIVE_S
        self._heard = self._loop.time()
        self._mid = 0
        self._unanswered = 0
        self._lost = ""
        self._paused = self._stuck = self._lives = False
        self.timed_out = False
        self.session_expiry_s = SESSION_EXPIRY_S
        """How long the broker says that it keeps the session."""

    @property
    def address(self) -> str:
        """The broker's address, without credentials."""
        return self._config.url

    async def open(self, filters: Sequence[str]) -> bool:
        """Connect and subscribe; return whether the broker had kept our session. ConnectionLost says why not."""
        parts = urlsplit(self._config.url)
        host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                await self._loop.create_connection(lambda: self, host, port, ssl=self._tls)
                present = await self._connected
                self.subscribe(filters)
                if not present and filters:
                    # A kept session has its subscriptions, and may have more waiting than our inbox takes: the answer
                    # comes behind all that, and nobody would empty the inbox here.
                    await self._subscribed
        except TimeoutError as error:
            reason = self._lost or f"no answer within {_CONNECT_TIMEOUT_S:g} s"
            raise ConnectionLost(f"{self.address}: cannot connect: {reason}") from error
        except OSError as error:
            reason = self._lost or tls_reason(error) or str(error) or type(error).__name__
            raise ConnectionLost(f"{self.address}: cannot connect: {reason}") from error
        return present

    def subscribe(self, filters: Sequence[str], gone: Sequence[str] = ()) -> None:
        """Subscribe to these and no longer to those. A refusal ends the connection, said by `messages`."""
        version = self._config.version
        for start in range(0, len(filters), _FILTERS_A_PACKET):
            some = list(filters[start : start + _FILTERS_A_PACKET])
            self._unanswered += 1
            self._send(wire.subscribe_packet(version, self._next_mid(), some, self._config.qos))
        for start in range(0, len(gone), _FILTERS_A_PACKET):
            some = list(gone[start : start + _FILTERS_A_PACKET])
            self._send(wire.unsubscribe_packet(version, self._next_mid(), some))

    async def messages(self, most: int) -> list[Message]:
        """Wait for messages and return at most `most`, none when the broker only showed that it lives.

        ConnectionLost at the end.
        """
        while not self._inbox:
            if self._lost:
                raise ConnectionLost(f"{self.address}: {self._lost}")
            if self._lives:
                self._lives = False
                return []
            self._wake.clear()
            await self._wake.wait()
        self._lives = False
        taken: list[Message] = []
        size = 0
        while self._inbox and len(taken) < most and size < _DELIVERY_BYTES:
            message = self._inbox.popleft()
            size += len(message.payload)
            taken.append(message)
        self._inbox_bytes -= size
        self._read_on()
        return taken

    def acknowledge(self, messages: list[Message]) -> None:
        """Tell the broker that these are safe. Nothing is sent on a connection that is gone: it redelivers them."""
        packets = wire.puback_packets(messages)
        if packets:
            self._send(packets)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish once, unacknowledged: for commands that are repeated when they have no effect."""
        self._send(wire.publish_packet(self._config.version, topic, payload))

    async def close(self) -> None:
        """Say goodbye; the broker keeps the session."""
        transport, self._lost = self._transport, self._lost or "closed"
        if self._tick is not None:
            self._tick.cancel()
        if transport is not None and not self._ended.done():
            if not transport.is_closing():
                transport.write(wire.DISCONNECT_PACKET)
                # What is left of the inbox stays unread and unacknowledged: it comes again.
                transport.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await asyncio.shield(self._ended)
            transport.abort()
        for future in (self._connected, self._subscribed):
            future.cancel()

    def _send(self, packets: bytes) -> None:
        if not self._lost and self._transport is not None:
            self._transport.write(packets)

    def _next_mid(self) -> int:
        self._mid = self._mid % _MIDS + 1
        return self._mid

    def _hold(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _read_on(self) -> None:
        if self._paused and not self._stuck and not self._full(0.5) and self._transport is not None:
            self._paused = False
            self._heard = self._loop.time()
            self._transport.resume_reading()

    def _full(self, share: float = 1.0) -> bool:
        return len(self._inbox) >= share * _INBOX_FULL or self._inbox_bytes >= share * _INBOX_FULL_BYTES

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say who we are."""
        self._transport = cast("asyncio.Transport", transport)
        packet = wire.connect_packet(
            self._config.version,
            self._client_id,
            self._credentials,
            int(_KEEP_ALIVE_S),
            SESSION_EXPIRY_S,
            RECEIVE_MAXIMUM,
        )
        self._transport.write(packet)
        self._heard = self._loop.time()
        self._tick = self._loop.call_later(self._keep_alive_s / 4, self._keep_alive)

    def data_received(self, data: bytes) -> None:
        """Cut into packets; pause reading when too much waits."""
        self._heard = self._loop.time()
        try:
            messages, answers = self._reader.feed(data)
            for kind, body in answers:
                self._answer(kind, body)
        except wire.WireError as error:
            self._fail(f"the broker sent what is no MQTT {self._config.version}: {error}")
            return
        if messages:
            self._inbox += messages
            self._inbox_bytes += sum([len(message.payload) for message in messages])
            self._wake.set()
            if self._full():
                self._hold()

    def pause_writing(self) -> None:
        """Read no more from a broker that does not take our acknowledgements."""
        self._stuck = True
        self._hold()

    def resume_writing(self) -> None:
        """Read on."""
        self._stuck = False
        self._read_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake whoever waits."""
        if not self._ended.done():
            self._ended.set_result(None)
        self._fail(tls_reason(exc) or (str(exc) if exc else "the connection was closed"))

    def _answer(self, kind: int, body: bytes) -> None:
        if kind == wire.CONNACK:
            self._welcomed(wire.connack_of(body, self._config.version))
        elif kind == wire.SUBACK:
            refused = wire.refused_filters(body, self._config.version, self._config.qos)
            self._unanswered -= 1
            if refused:
                self._fail(f"the broker refused a subscription: {', '.join(sorted(set(refused)))}")
            elif not self._unanswered and not self._subscribed.done():
                self._subscribed.set_result(None)
        elif kind == wire.DISCONNECT:
            self._fail(wire.disconnect_reason(body))
        elif kind == wire.PINGRESP:
            self._lives = True
            self._wake.set()
        elif kind != wire.UNSUBACK:
            raise wire.WireError(f"a packet of type {kind >> 4}")

    def _welcomed(self, answer: wire.Connack) -> None:
        if answer.refusal:
            self._fail(f"the broker refused us: {answer.refusal}")
        elif not self._connected.done():
            if answer.session_expiry_s is not None:
                self.session_expiry_s = answer.session_expiry_s
            if answer.keep_alive_s is not None:
                self._keep_alive_s = answer.keep_alive_s or _KEEP_ALIVE_S
            self._connected.set_result(answer.present)

    def _keep_alive(self) -> None:
        """Show that we live, and give up a broker that does not; one that we do not read says nothing to us."""
        silent = self._loop.time() - self._heard
        if silent > self._keep_alive_s and (self._stuck or not self._paused):
            self.timed_out = True
            self._fail(f"Keep alive timeout: nothing heard for {silent:.0f} s")
            return
        self._send(wire.PINGREQ_PACKET)
        self._tick = self._loop.call_later(self._keep_alive_s / 4, self._keep_alive)

    def _fail(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._wake.set()
        if self._tick is not None:
            self._tick.cancel()
        for future in (self._connected, self._subscribed):
            if not future.done():
                future.set_exception(ConnectionError(self._lost))
                # Not every life of a connection gets as far as waiting for both.
                future.exception()
        if self._transport is not None:
            self._transport.abort()
