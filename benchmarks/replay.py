"""Peers that send bytes made beforehand, each a process of its own: faster than any adapter, so that never they limit.

Modbus and MQTT are a socket and a loop. OPC UA is asyncua's server for everything but the publish responses: those are
one encoded message, in which four numbers are written anew each time.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
import time
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.server.server import Server
from asyncua.server.uaprocessor import UaProcessor
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "URI",
    "ask_modbus",
    "modbus_answer",
    "mqtt_publish",
    "publish_response",
    "serve_bytes",
    "serve_modbus",
    "serve_mqtt",
    "serve_opcua",
]

URI = "urn:wellos:benchmark"
_IDS = 60_000
_AT_ONCE = 250
_PUBACK_BYTES = 4
_OPCUA_HEAD = struct.Struct("<4sIIIII")
"""Kind and size of a message, channel, token, sequence number, request."""


def _each(port: int, serve: Callable[[socket.socket], None]) -> None:
    """Serve one connection after the other, for ever."""
    with socket.create_server(("127.0.0.1", port)) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with connection, suppress(OSError):
                serve(connection)


def serve_bytes(port: int, content: bytes) -> None:
    """Send the same bytes over and over: what a reader of sockets can take at most."""
    many = content * max(1, (1 << 20) // len(content))

    def serve(connection: socket.socket) -> None:
        while True:
            connection.sendall(many)

    _each(port, serve)


def modbus_answer(unit: int, function: int, count: int) -> bytes:
    """Return an answer without its transaction: registers that hold 17, or bits."""
    data = bytes([0, 17]) * count if function in (3, 4) else b"\x55" * ((count + 7) // 8)
    return struct.pack(">HHBBB", 0, 3 + len(data), unit, function, len(data)) + data


def serve_modbus(port: int) -> None:
    """Answer reads; each answer is made once."""
    made: dict[bytes, bytes] = {}

    def serve(connection: socket.socket) -> None:
        while request := connection.recv(12):
            key = request[6:]
            if key not in made:
                unit, function, count = struct.unpack(">BBxxH", key)
                made[key] = modbus_answer(unit, function, count)
            connection.sendall(request[:2] + made[key])

    _each(port, serve)


def ask_modbus(port: int, request: bytes, answer_bytes: int, seconds: float) -> float:
    """Return the requests a second that a bare socket gets answered, one at a time."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            connection.sendall(request)
            left = answer_bytes
            while left:
                left -= len(connection.recv(left))
            asked += 1
        return asked / (time.perf_counter() - began)


def mqtt_publish(topic: str, payload: bytes, number: int | None) -> bytes:
    """Return a PUBLISH of version 5, of quality 1 with a packet number or of quality 0 without."""
    name = topic.encode()
    body = (
        struct.pack(">H", len(name)) + name + (b"" if number is None else struct.pack(">H", number)) + b"\0" + payload
    )
    left, size = len(body), bytearray()
    while True:
        left, digit = divmod(left, 128)
        size.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([0x30 if number is None else 0x32]) + bytes(size) + body


def serve_mqtt(
    port: int, first: Sequence[tuple[str, bytes]], messages: Sequence[tuple[str, bytes]], window: int
) -> None:
    """Play a broker that has messages without end for its one subscriber: `first` once, then `messages` in a circle.

    `window`: most unacknowledged messages at quality 1; 0: they go at quality 0.
    """
    count = _IDS - _IDS % len(messages)
    numbers = range(1, count + 1)
    packets = [
        mqtt_publish(*message, number if window else None)
        for number, message in zip(numbers, itertools.cycle(messages), strict=False)
    ]
    ends = [0, *itertools.accumulate(map(len, packets))]
    stream = memoryview(b"".join(packets))
    opening = b"".join(mqtt_publish(*message, None) for message in first)

    def serve(connection: socket.socket) -> None:
        if not connection.recv(65_536):
            return
        connection.sendall(b"\x20\x03\x00\x00\x00")
        request = connection.recv(65_536)
        filters = _filters(request)
        connection.sendall(b"\x90" + bytes([3 + filters]) + request[2:4] + b"\0" + b"\1" * filters + opening)
        at, free = 0, window or _AT_ONCE
        while True:
            take = min(free, _AT_ONCE, count - at)
            if take:
                connection.sendall(stream[ends[at] : ends[at + take]])
                at = (at + take) % count
            if window:
                free -= take
                # Acknowledgements are four bytes each; what is left over of them comes with the next.
                free += len(connection.recv(1 << 16)) // _PUBACK_BYTES if free < window // 2 else 0

    _each(port, serve)


def _filters(request: bytes) -> int:
    """Return how many filters a SUBSCRIBE of less than 128 bytes has."""
    at, found = 5, 0
    while at + 2 <= len(request):
        at += 3 + int.from_bytes(request[at : at + 2], "big")
        found += 1
    return found


def publish_response(subscription: int, handles: Sequence[int], request_handle: int, sequence: int) -> bytes:
    """Encode a publish response with one new value of each item."""
    moment = ua.DateTime.now(UTC).replace(tzinfo=None)
    value = ua.DataValue(ua.Variant(1.5, ua.VariantType.Double), SourceTimestamp=moment, ServerTimestamp=moment)
    items = [ua.MonitoredItemNotification(ClientHandle=handle, Value=value) for handle in handles]
    response = ua.PublishResponse()
    response.ResponseHeader.RequestHandle = request_handle
    response.Parameters.SubscriptionId = subscription
    message = response.Parameters.NotificationMessage
    message.SequenceNumber, message.PublishTime = sequence, moment
    message.NotificationData = [ua.DataChangeNotification(MonitoredItems=items)]
    return struct_to_binary(response)


class _Publisher:
    """Answers the publish requests of one session out of one encoded message."""

    _HANDLE, _SEQUENCE = 0x51F2A3B4, 0x61E2D3C4

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.handles: list[int] = []
        self.subscription = 0
        self.waiting: list[tuple[Any, Any, Any]] = []
        self.message = bytearray()
        self.number = 0

    def monitored(self, parameters: Any) -> None:  # noqa: ANN401 - asyncua's own
        self.subscription = parameters.SubscriptionId
        self.handles += [item.RequestedParameters.ClientHandle for item in parameters.ItemsToCreate]
        if len(self.handles) == self.nodes:
            self.message = bytearray(publish_response(self.subscription, self.handles, self._HANDLE, self._SEQUENCE))
            self.handle_at = self.message.index(struct.pack("<I", self._HANDLE))
            self.number_at = self.message.index(struct.pack("<I", self._SEQUENCE))
            for held in self.waiting:
                self.answer(*held)

    def answer(self, processor: Any, requesthdr: Any, seqhdr: Any) -> None:  # noqa: ANN401 - asyncua's own
        if not self.message:
            self.waiting.append((processor, requesthdr, seqhdr))
            return
        connection, self.number = processor._connection, self.number + 1  # noqa: SLF001 - it has no other way
        connection._sequence_number = sequence = connection._sequence_number + 1  # noqa: SLF001 - same
        struct.pack_into("<I", self.message, self.handle_at, requesthdr.RequestHandle)
        struct.pack_into("<I", self.message, self.number_at, self.number)
        token, size = connection.security_token, _OPCUA_HEAD.size + len(self.message)
        head = _OPCUA_HEAD.pack(b"MSGF", size, token.ChannelId, token.TokenId, sequence, seqhdr.RequestId)
        processor._transport.write(head + self.message)  # noqa: SLF001 - same


def serve_opcua(port: int, nodes: int) -> None:
    """Serve numbered nodes whose every publish response is ready before it is asked for."""
    logging.disable(logging.CRITICAL)
    process: Any = UaProcessor._process_message  # noqa: SLF001 - replaced below
    create = ua.NodeId(ua.Int32(ObjectIds.CreateMonitoredItemsRequest_Encoding_DefaultBinary))
    publish = ua.NodeId(ua.Int32(ObjectIds.PublishRequest_Encoding_DefaultBinary))

    async def replacement(self: Any, typeid: Any, requesthdr: Any, seqhdr: Any, body: Any) -> Any:  # noqa: ANN401
        if not hasattr(self, "publisher"):
            self.publisher = _Publisher(nodes)
        if typeid == publish:
            self.publisher.answer(self, requesthdr, seqhdr)
            return True
        copy = body.copy() if typeid == create else None
        done = await process(self, typeid, requesthdr, seqhdr, body)
        if copy is not None:
            self.publisher.monitored(struct_from_binary(ua.CreateMonitoredItemsParameters, copy))
        return done

    UaProcessor._process_message = replacement  # type: ignore[method-assign]  # noqa: SLF001 - see the module
    asyncio.run(_opcua(port, nodes))


async def _opcua(port: int, nodes: int) -> None:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(URI)
    for number in range(1, nodes + 1):
        await server.nodes.objects.add_variable(ua.NodeId(ua.Int32(number), ua.Int16(index)), f"n{number}", 0.0)
    async with server:
        await asyncio.Event().wait()
