"""A Modbus device in a thread of its own, for tests of processes: each answer holds the number of its request."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

from tests.fix_modbus import RawPeer, raw_peer, registers_tcp

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["device", "fleet"]

_FLEET = """
version: 1
tenants:
  - slug: acme
    name: Acme
    wells:
      - {name: A-1, lift_type: flowing}
    connections:
"""
_CONNECTION = """
      - name: plc-%d
        protocol: modbus
        config: {host: 127.0.0.1, port: %d, timeout_s: 30}
        tags:
          - {name: p%d, well: A-1, address: "1:holding:0:uint16", interval_s: 0.2, high: 65535}
"""


def fleet(*ports: int) -> bytes:
    """Return a fleet file with a connection of one tag to each of these ports."""
    return (_FLEET + "".join(_CONNECTION % (n, port, n) for n, port in enumerate(ports))).encode()


def _answer(peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
    transport.write(registers_tcp(request, len(peer.requests) % 65_536))


@contextlib.contextmanager
def device() -> Iterator[RawPeer]:
    """Run a device until the block ends."""
    loop, started = asyncio.new_event_loop(), threading.Event()
    ended: asyncio.Future[None] = loop.create_future()
    found: list[RawPeer] = []

    async def serve() -> None:
        async with raw_peer(_answer) as peer:
            found.append(peer)
            started.set()
            await ended

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    assert started.wait(90)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(ended.set_result, None)
        thread.join()
        loop.close()
