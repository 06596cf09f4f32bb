"""The MQTT client library inside asyncio: no thread of its own, messages in an inbox, acknowledgement by hand.

Reading pauses while the inbox is full, so that a broker that knows no receive maximum is held back by TCP.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from streaming.delivery import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from wellos.protocols.mqtt import MqttConfig

__all__ = ["RECEIVE_MAXIMUM", "SESSION_EXPIRY_S", "Link", "Message"]

RECEIVE_MAXIMUM = 1000
"""Most messages the broker may have in flight to us, unacknowledged."""
SESSION_EXPIRY_S = 7 * 24 * 3600
"""How long the broker keeps the session, and what comes for it, while we are away."""

_KEEP_ALIVE_S = 20
_CONNECT_TIMEOUT_S = 10.0
_GOODBYE_S = 1.0
_INBOX_FULL = 2 * RECEIVE_MAXIMUM
_PACKETS_A_WAKE_UP = 200
_DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}
_REFUSED = 0x80
_VERSION_5 = 5


@dataclass(frozen=True, slots=True)
class Message:
    """One PUBLISH as it came; `topic` is empty when it is not UTF-8."""

    topic: str
    payload: bytes
    mid: int
    qos: int
    retained: bool
    repeated: bool


class Link:
    """One connection to a broker, for one life of a TCP connection."""

    def __init__(self, config: MqttConfig, client_id: str) -> None:
        """Prepare the client; ConfigurationError names a password variable that is not set."""
        self._config = config
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._inbox: deque[Message] = deque()
        self._wake = asyncio.Event()
        self._connected: asyncio.Future[bool] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._lost = ""
        self._closed = False
        self._paused = False
        self.timed_out = False
        self._client = self._make_client(client_id)

    @property
    def address(self) -> str:
        """The broker's address, without credentials."""
        return self._config.url

    def _make_client(self, client_id: str) -> paho.Client:
        five = self._config.version == _VERSION_5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id,
            clean_session=None if five else False,
            protocol=MQTTProtocolVersion(self._config.version),
            reconnect_on_failure=False,
            manual_ack=True,
        )
        user, password = self._config.credentials()
        if user is not None:
            client.username_pw_set(user, password)
        if self._config.url.startswith("mqtts:"):
            client.tls_set()
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_socket_open = self._on_socket_open
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_register_write
        client.on_socket_unregister_write = self._on_unregister_write
        return client

    async def open(self, filters: Sequence[str]) -> bool:
        """Connect and subscribe; return whether the broker had kept our session. ConnectionLost says why not."""
        parts = urlsplit(self._config.url)
        port = parts.port or _DEFAULT_PORTS[parts.scheme]
        try:
            async with asyncio.timeout(2 * _CONNECT_TIMEOUT_S):
                # The library resolves names and shakes hands blocking.
                await asyncio.to_thread(self._connect, parts.hostname or "", port)
                present = await self._connected
                self.subscribe(filters)
                if not present and filters:
                    # A kept session has its subscriptions, and may have more waiting than our inbox takes: the answer
                    # comes behind all that, and nobody would empty the inbox here.
                    await self._subscribed
        except (OSError, TimeoutError, ValueError) as error:
            reason = self._lost or str(error) or type(error).__name__
            raise ConnectionLost(f"{self.address}: cannot connect: {reason}") from error
        return present

    def subscribe(self, filters: Sequence[str], gone: Sequence[str] = ()) -> None:
        """Subscribe to these and no longer to those. A refusal ends the connection, said by `messages`."""
        if filters:
            options: Any = [(name, self._subscription()) for name in filters]
            self._client.subscribe(options)
        if gone:
            self._client.unsubscribe(list(gone))

    def _connect(self, host: str, port: int) -> None:
        if self._config.version == _VERSION_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = RECEIVE_MAXIMUM
            self._client.connect(host, port, _KEEP_ALIVE_S, clean_start=False, properties=properties)
        else:
            self._client.connect(host, port, _KEEP_ALIVE_S)
        socket = self._client.socket()
        if self._closed and socket is not None:
            socket.close()

    def _subscription(self) -> SubscribeOptions | int:
        if self._config.version != _VERSION_5:
            return self._config.qos
        return SubscribeOptions(qos=self._config.qos, retainHandling=SubscribeOptions.RETAIN_SEND_IF_NEW_SUB)

    async def messages(self, most: int) -> list[Message]:
        """Wait for messages and return at most `most`, none after some seconds; ConnectionLost at the end."""
        if not self._paused:
            self._client.loop_misc()
        if not self._inbox:
            if self._lost:
                raise ConnectionLost(f"{self.address}: {self._lost}")
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_KEEP_ALIVE_S / 4):
                    await self._wake.wait()
        taken = [self._inbox.popleft() for _ in range(min(most, len(self._inbox)))]
        if self._paused and len(self._inbox) <= _INBOX_FULL // 2:
            self._resume()
        return taken

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Tell the broker that these are safe. Nothing is sent on a connection that is gone: it redelivers them."""
        if self._lost:
            return
        for message in messages:
            if message.qos:
                self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish once, unacknowledged: for commands that are repeated when they have no effect."""
        self._client.publish(topic, payload, qos=0)

    async def close(self) -> None:
        """Say goodbye; the broker keeps the session."""
        if not self._lost:
            self._client.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    while not self._lost:
                        self._wake.clear()
                        await self._wake.wait()
        self._closed, self._lost = True, self._lost or "closed"
        socket = self._client.socket()
        if socket is not None:
            self._unwatch(socket)
            socket.close()
        for future in (self._connected, self._subscribed):
            future.cancel()

    # Callbacks of the library. All run in the loop's thread but those of connecting, which run in a worker's.

    def _on_connect(self, _client: Any, _data: Any, flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        if self._connected.done():
            return
        if reason.is_failure:
            self._fail(f"the broker refused us: {reason}")
        else:
            self._connected.set_result(bool(flags.session_present))

    def _on_subscribe(self, _client: Any, _data: Any, _mid: int, reasons: Any, _properties: Any) -> None:  # noqa: ANN401
        refused = [str(reason) for reason in reasons if reason.value >= _REFUSED]
        if refused:
            self._fail(f"the broker refused a subscription: {', '.join(refused)}")
        elif not self._subscribed.done():
            self._subscribed.set_result(None)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        text = str(reason)
        self.timed_out = text == "Keep alive timeout"
        self._fail("the connection was closed" if text in ("Unspecified error", "Normal disconnection") else text)

    def _fail(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._wake.set()
        for future in (self._connected, self._subscribed):
            if not future.done():
                future.set_exception(ConnectionError(self._lost))
                # Not every life of a connection gets as far as waiting for both.
                future.exception()

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._inbox.append(
            Message(topic, bytes(message.payload), message.mid, message.qos, message.retain, bool(message.dup))
        )
        self._wake.set()

    def _on_socket_open(self, _client: Any, _data: Any, socket: Any) -> None:  # noqa: ANN401
        self._in_loop(self._watch, self._loop.add_reader, socket, self._read)

    def _on_socket_close(self, _client: Any, _data: Any, socket: Any) -> None:  # noqa: ANN401
        self._unwatch(socket)

    def _on_register_write(self, _client: Any, _data: Any, socket: Any) -> None:  # noqa: ANN401
        self._in_loop(self._watch, self._loop.add_writer, socket, self._client.loop_write)

    def _on_unregister_write(self, _client: Any, _data: Any, socket: Any) -> None:  # noqa: ANN401
        if socket.fileno() >= 0:
            self._in_loop(self._loop.remove_writer, socket.fileno())

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        if threading.get_ident() == self._thread:
            call(*arguments)
        else:
            self._loop.call_soon_threadsafe(call, *arguments)

    def _watch(self, add: Callable[..., object], socket: Any, call: Callable[[], object]) -> None:  # noqa: ANN401
        # Cancelled while a worker was still connecting, nobody is there to read or to unwatch.
        if not self._closed and socket.fileno() >= 0:
            add(socket.fileno(), call)

    def _unwatch(self, socket: Any) -> None:  # noqa: ANN401
        if socket.fileno() >= 0:
            self._in_loop(self._loop.remove_reader, socket.fileno())
            self._in_loop(self._loop.remove_writer, socket.fileno())

    def _read(self) -> None:
        """Read packets for as long as messages keep coming, up to a share of the loop's time."""
        for _ in range(_PACKETS_A_WAKE_UP):
            before = len(self._inbox)
            if self._client.loop_read() != MQTTErrorCode.MQTT_ERR_SUCCESS or len(self._inbox) == before:
                break
        socket = self._client.socket()
        if len(self._inbox) >= _INBOX_FULL and socket is not None:
            self._paused = True
            self._loop.remove_reader(socket.fileno())

    def _resume(self) -> None:
        self._paused = False
        socket = self._client.socket()
        if socket is not None:
            self._loop.add_reader(socket.fileno(), self._read)
            # What TLS has decrypted already no longer makes the socket readable.
            self._loop.call_soon(self._read)
