"""A device's MQTT client inside asyncio: publishes at QoS 1, knows what the broker took and whether anyone subscribes.

With MQTT 5 a broker may answer that a message had no subscriber (reason 16): then it went nowhere, and the caller may
send it again later. A broker that only speaks 3.1.1 cannot say so.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import paho.mqtt.client as paho
import structlog
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from wellos.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["DROPPED", "STORED", "MqttPublisher"]

STORED = "$SYS/broker/store/messages/count"
DROPPED = "$SYS/broker/publish/messages/dropped"
"""Where mosquitto says how many messages it holds, and how many it has thrown away."""

_log = structlog.get_logger(__name__)
_KEEP_ALIVE_S = 20
_TIMEOUT_S = 8.0
_RETRY_S = 2.0
_TEND_S = 2.0
_NO_SUBSCRIBER = 0x10
_WINDOW = 2000
"""Most messages on their way to the broker; less where the broker allows less."""
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_PACKETS_A_WAKE_UP = 200


class MqttPublisher:
    """One client name at one broker, connected again by itself whenever the connection is lost."""

    def __init__(self, url: str, client_id: str) -> None:
        """Take the broker's address, user and password included; nothing is connected yet."""
        self._url = urlsplit(url)
        self._name = client_id
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._room = asyncio.Semaphore(_WINDOW)
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._tending: asyncio.Task[None] | None = None
        self._refused = ""
        self._closing = False
        self.version = 5
        self.published = 0
        self.figures: dict[str, int] = {}
        """The broker's own figures, by topic, where it publishes them."""
        self.on_command: Callable[[str, bytes], None] = lambda _topic, _payload: None
        self.on_connected: Callable[[], object] = lambda: None
        """Called after every connect, before anything waiting is sent again."""
        self.will: Callable[[], tuple[str, bytes]] | None = None
        """Makes the message the broker sends when we are gone; asked before every connect."""
        self._filters: Sequence[str] = ()
        self._client = self._make(5)

    @property
    def address(self) -> str:
        """The broker's address without user and password."""
        return f"{self._url.scheme}://{self._url.hostname}:{self._url.port or _PORTS[self._url.scheme]}"

    def _make(self, version: int) -> paho.Client:
        five = version == 5
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            self._name,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion(version),
            reconnect_on_failure=False,
        )
        if self._url.username:
            client.username_pw_set(unquote(self._url.username), unquote(self._url.password or ""))
        if self._url.scheme == "mqtts":
            client.tls_set()
        client.connect_timeout = _TIMEOUT_S
        # Our own window bounds what is under way; the library's would search all of it at every acknowledgement.
        client.max_inflight_messages_set(0)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_socket_open = lambda _client, _data, socket: self._in_loop(
            self._loop.add_reader, socket.fileno(), self._read
        )
        client.on_socket_close = lambda _client, _data, socket: self._unwatch(socket.fileno())
        client.on_socket_register_write = lambda _client, _data, socket: self._in_loop(
            self._loop.add_writer, socket.fileno(), client.loop_write
        )
        client.on_socket_unregister_write = lambda _client, _data, socket: self._in_loop(
            self._loop.remove_writer, socket.fileno()
        )
        self.version = version
        return client

    async def open(self, *filters: str) -> None:
        """Connect and subscribe to commands; MQTT 5, else 3.1.1. UnreachableError if the broker does not take us."""
        self._filters = filters
        reason = await self._try()
        if reason and self.version == 5:
            self._drop()
            self._client = self._make(4)
            reason = await self._try() and reason
        if reason:
            self._drop()
            raise UnreachableError("WELLOS_MQTT_URL", self.address, reason)
        self._tending = asyncio.create_task(self._tend())

    async def _try(self) -> str:
        """Connect once; return why it failed, or nothing."""
        self._refused = ""
        self._up.clear()
        self._down.clear()
        if self.will is not None:
            topic, payload = self.will()
            self._client.will_set(topic, payload, qos=1)
        host, port = self._url.hostname or "", self._url.port or _PORTS[self._url.scheme]
        try:
            # The library resolves names and shakes hands blocking.
            await asyncio.to_thread(self._client.connect, host, port, _KEEP_ALIVE_S)
            async with asyncio.timeout(_TIMEOUT_S):
                await self._up.wait()
        except TimeoutError:
            return self._refused or "no answer"
        except (OSError, ValueError) as error:
            return str(error) or type(error).__name__
        return self._refused

    async def _tend(self) -> None:
        """Keep the connection alive, and make it again whenever it is lost."""
        while True:
            await asyncio.sleep(_TEND_S)
            self._client.loop_misc()
            if self._client.is_connected() or self._closing:
                continue
            reason = await self._try()
            if reason:
                _log.warning("broker does not answer", broker=self.address, reason=reason)
                await asyncio.sleep(_RETRY_S)

    def publish(self, topic: str, payload: bytes, qos: int = 1, *, retain: bool = False) -> asyncio.Future[bool]:
        """Send a message; the future is True once the broker has taken it for a subscriber, False if it has none."""
        future: asyncio.Future[bool] = self._loop.create_future()
        info = self._client.publish(topic, payload, qos=qos, retain=retain)
        if qos == 0:
            future.set_result(True)
        else:
            self._waiting[info.mid] = future
        self.published += 1
        return future

    async def publish_all(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Send messages in order and wait until the broker has taken all; which of them had a subscriber."""
        futures = []
        for topic, payload in messages:
            await self._room.acquire()
            future = self.publish(topic, payload)
            future.add_done_callback(lambda _: self._room.release())
            futures.append(future)
        return list(await asyncio.gather(*futures))

    async def close(self, *, quietly: bool = True) -> None:
        """Disconnect. Quietly: the broker forgets the will; otherwise it is left to send it."""
        self._closing = True
        if self._tending is not None:
            self._tending.cancel()
            with suppress(asyncio.CancelledError):
                await self._tending
        if quietly and self._client.is_connected():
            self._client.disconnect()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._down.wait()
        self._drop()
        for future in self._waiting.values():
            future.cancel()
        self._waiting.clear()

    def _drop(self) -> None:
        socket = self._client.socket()
        if socket is not None:
            self._unwatch(socket.fileno())
            socket.close()

    # Callbacks of the library: in the loop's thread, but those of opening a socket, which come from the connecting one.

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, properties: Any) -> None:  # noqa: ANN401
        if reason.is_failure:
            self._refused = f"the broker refused us: {reason}"
        else:
            for name in self._filters:
                self._client.subscribe(name, qos=1)
            allowed = getattr(properties, "ReceiveMaximum", _WINDOW)
            if allowed < _WINDOW and not self._waiting:
                self._room = asyncio.Semaphore(allowed)
            self.on_connected()
        self._up.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        self._down.set()
        if not self._closing:
            _log.warning("broker lost", broker=self.address, reason=str(reason))

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:  # noqa: ANN401
        future = self._waiting.pop(mid, None)
        if future is not None and not future.done():
            future.set_result(reason.value != _NO_SUBSCRIBER)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:  # noqa: ANN401
        if message.topic.startswith("$SYS/"):
            with suppress(ValueError):
                self.figures[message.topic] = int(message.payload)
        else:
            self.on_command(message.topic, bytes(message.payload))

    def _read(self) -> None:
        self._client.loop_read(_PACKETS_A_WAKE_UP)

    def _unwatch(self, descriptor: int) -> None:
        if descriptor >= 0:
            self._in_loop(self._loop.remove_reader, descriptor)
            self._in_loop(self._loop.remove_writer, descriptor)

    def _in_loop(self, call: Callable[..., object], *arguments: object) -> None:
        if threading.get_ident() == self._thread:
            call(*arguments)
        else:
            self._loop.call_soon_threadsafe(call, *arguments)
