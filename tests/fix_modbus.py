"""A TCP peer that is given the bytes of every request and sends whatever a test wants: replays, faults, nonsense."""

from __future__ import annotations

import asyncio
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

from streaming.adapters.modbus_frame import crc16

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["RawPeer", "raw_peer", "registers_rtu", "registers_tcp"]


class RawPeer:
    """Listens on a port; `answer(peer, transport, request)` is called for every piece of bytes that comes."""

    def __init__(self, answer: Callable[[RawPeer, asyncio.Transport, bytes], None]) -> None:
        self.answer = answer
        self.port = 0
        self.requests: list[bytes] = []
        self.open: set[asyncio.Transport] = set()
        self.connects = 0


class _Connection(asyncio.Protocol):
    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._peer.open.add(transport)
        self._peer.connects += 1

    def data_received(self, data: bytes) -> None:
        self._peer.requests.append(data)
        self._peer.answer(self._peer, self._transport, data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - the library's signature
        self._peer.open.discard(self._transport)


@asynccontextmanager
async def raw_peer(
    answer: Callable[[RawPeer, asyncio.Transport, bytes], None], port: int = 0
) -> AsyncIterator[RawPeer]:
    peer = RawPeer(answer)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(peer), "127.0.0.1", port)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        # A connection that is being accepted while its server is closed is one that nobody closes (asyncio of 3.11).
        await asyncio.sleep(0.02)
        server.close()
        for transport in list(peer.open):
            transport.abort()
        await asyncio.sleep(0.01)


def registers_tcp(request: bytes, value: int) -> bytes:
    """Answer a read of registers over Modbus TCP: each of them holds `value`."""
    transaction, unit, function, count = cast("tuple[int, ...]", struct.unpack(">H4xBB2xH", request[:12]))
    body = struct.pack(">BBB", unit, function, 2 * count) + struct.pack(">H", value) * count
    return struct.pack(">HHH", transaction, 0, len(body)) + body


def registers_rtu(request: bytes, value: int) -> bytes:
    """Answer a read of registers as an RTU frame: each of them holds `value`."""
    unit, function, count = cast("tuple[int, int, int]", struct.unpack(">BB2xH", request[:6]))
    body = struct.pack(">BBB", unit, function, 2 * count) + struct.pack(">H", value) * count
    return body + struct.pack("<H", crc16(body))
