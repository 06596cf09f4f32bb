"""A TCP proxy between ingest and a server, to cut and to lose answers at the worst moment."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Link:
    """One client's connection through the proxy."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._losing = False
        self.threads = [threading.Thread(target=self._up), threading.Thread(target=self._down)]
        for thread in self.threads:
            thread.start()

    def cut(self) -> None:
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut()
        for thread in self.threads:
            thread.join()
        self._client.close()
        self._server.close()

    def _up(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._client.recv(1 << 16):
                if self._proxy.swallow and self._proxy.swallow in data:
                    self._losing, self._proxy.swallow = True, b""
                if self._proxy.cuts_within(data):
                    break
                if not self._proxy.silent:
                    self._server.sendall(data)
        self.cut()

    def _down(self) -> None:
        with contextlib.suppress(OSError):
            while data := self._server.recv(1 << 16):
                if self._losing:  # the server has done it; the client never hears of it
                    self._proxy.swallowed += 1
                    break
                self._client.sendall(data)
        self.cut()


class Proxy:
    """Forwards to one address. `swallow` names bytes from a client whose answer is lost with the link."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._links: list[_Link] = []
        self.swallow = b""
        self.swallowed = 0
        self.silent = False
        self.sent = 0
        """Bytes from clients so far."""
        self.cut_at: int | None = None
        """The link that brings `sent` to this is cut before the server has what brought it there."""
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def cuts_within(self, data: bytes) -> bool:
        """Count what a client sent, and tell whether the link is to be cut before it."""
        with self._lock:
            self.sent += len(data)
            if self.cut_at is None or self.sent < self.cut_at:
                return False
            self.cut_at = None
            return True

    def cut(self) -> int:
        """Cut every link now and return how many there were."""
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.close()
        return len(links)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:  # the server is away: so is its address
                    client.close()
                    continue
                link = _Link(self, client, server)
                with self._lock:
                    self._links.append(link)


@contextlib.contextmanager
def proxy_to(host: str, port: int) -> Iterator[Proxy]:
    """Run a proxy until the block ends."""
    made = Proxy(host, port)
    try:
        yield made
    finally:
        made.close()
