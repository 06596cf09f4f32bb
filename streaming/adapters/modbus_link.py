"""One TCP connection to a Modbus peer: one read at a time, answers told from late ones, tries and time-outs by unit."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streaming.adapters.modbus_frame import Answer, FrameError, Receiver, Request, RtuReceiver, TcpReceiver
from streaming.delivery import ConnectionLost
from wellos.quality import MODBUS_NO_REPLY

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wellos.protocols.modbus import ModbusConfig

__all__ = ["Link", "Reply"]

_BUSY = frozenset({5, 6, 7})
"""Acknowledge, device busy, negative acknowledge: come again later."""
_GATEWAY = frozenset({10, 11})
"""No path to the unit, no answer from it: a gateway's word for silence, and it comes as late."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_UNANSWERED = 3
"""Requests in a row without an answer after which a peer of which no unit answers counts as gone."""
_MOST_RECEIVED = 8192
"""Bytes of anything but answers that a peer may send for one request: an answer has 260, the rest is late or noise."""
_LAST_TRANSACTION = 0xFFFF


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one read: exception code (0 none, MODBUS_NO_REPLY), the data, and the tries left unanswered."""

    status: int
    data: bytes = b""
    unanswered: int = 0


class _Wire(asyncio.Protocol):
    """The bytes of one TCP connection."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._received = 0
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._request: Request | None = None
        self._transaction = 0
        self.ended = ""
        """Why there is nothing more to come; empty while open."""
        self.late: list[Answer] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a TCP connection has this one
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"the connection was closed{f': {exc}' if exc else ''}")

    def data_received(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _MOST_RECEIVED:
            self._end(f"sent more than {_MOST_RECEIVED} bytes that answer nothing")
            return
        try:
            answers = self._receiver.feed(data)
        except FrameError as error:
            self._end(str(error))
            return
        for answer in answers:
            waiting, request = self._waiting, self._request
            if waiting is None or request is None or waiting.done():
                self.late.append(answer)
            elif answer.transaction == self._transaction and answer.fits(request):
                waiting.set_result(answer)
            else:
                self.late.append(answer)

    async def ask(self, request: Request, sent: bytes, transaction: int, timeout_s: float) -> Answer:
        """Send a request and return its answer; TimeoutError, or ConnectionLost when the connection ends first."""
        if self.ended or self._transport is None:
            raise ConnectionLost(self.ended)
        self._waiting = asyncio.get_running_loop().create_future()
        self._request, self._transaction, self._received = request, transaction, 0
        try:
            self._transport.write(sent)
            async with asyncio.timeout(timeout_s):
                return await self._waiting
        finally:
            self._waiting = self._request = None

    def _end(self, reason: str) -> None:
        self.ended = self.ended or reason
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionLost(self.ended))
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Link:
    """One peer: a device, or the units behind a gateway."""

    def __init__(self, config: ModbusConfig, units: Iterable[int]) -> None:
        """Prepare to connect; `units` are those that will be asked."""
        self.config = config
        self.units = set(units)
        self._wire: _Wire | None = None
        self._transaction = 0
        self._unanswered = 0
        self._silent: set[int] = set()
        self._pending: set[tuple[int, int]] = set()
        """Unit and function of RTU requests given up on, whose answers may still come."""

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self.config.host}:{self.config.port}"

    @property
    def gone(self) -> bool:
        """Whether the peer counts as gone: some requests in a row unanswered, and no unit that answers."""
        return self._unanswered >= _UNANSWERED and self._silent >= self.units

    def take_over(self, config: ModbusConfig, units: Iterable[int]) -> None:
        """Go on with other time-outs and units; host, port and framing are the same."""
        self.config, self.units = config, set(units)

    async def open(self) -> None:
        """Connect; ConnectionLost says why not."""
        rtu = self.config.framing == "rtu"
        wire = _Wire(RtuReceiver() if rtu else TcpReceiver())
        try:
            async with asyncio.timeout(self.config.timeout_s):
                await asyncio.get_running_loop().create_connection(lambda: wire, self.config.host, self.config.port)
        except (OSError, TimeoutError) as error:
            wire.close()
            raise ConnectionLost(f"{self.address}: cannot connect: {str(error) or type(error).__name__}") from error
        self._wire = wire
        self._pending.clear()

    def close(self) -> None:
        """Hang up."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._wire is not None and not self._wire.ended

    def tries(self, unit: int) -> int:
        """Return how many requests of a unit may go unanswered in one poll: one only if it is silent already."""
        return 1 if unit in self._silent else self.config.tries_of(unit)

    async def read(self, request: Request, tries: int) -> Reply:
        """Ask until there is an answer, at most `tries` times; a busy device also until its own tries are used up."""
        status, unanswered, wait_s = MODBUS_NO_REPLY, 0, _FIRST_WAIT_S
        for left in range(self.config.tries_of(request.unit) - 1, -1, -1):
            answer = await self._once(request)
            if answer is None:
                status, unanswered = MODBUS_NO_REPLY, unanswered + 1
                if unanswered >= tries:
                    break
            elif answer.refusal in _GATEWAY:
                self._silent.add(request.unit)
                return Reply(answer.refusal, b"", unanswered + 1)
            elif answer.refusal not in _BUSY or not left:
                return Reply(answer.refusal, answer.data or b"", unanswered)
            else:
                status = answer.refusal
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
        return Reply(status, b"", unanswered)

    async def _once(self, request: Request) -> Answer | None:
        """Return the answer, if one came that is whole."""
        try:
            answer = await self._ask(request)
        except TimeoutError:
            self._silent.add(request.unit)
            self._unanswered += 1
            return None
        except ConnectionLost as error:
            raise ConnectionLost(f"{self.address}: {error}") from error
        self._unanswered = 0
        self._silent.discard(request.unit)
        if answer.data is None or (not answer.refusal and len(answer.data) != request.size):
            return None
        return answer

    async def _ask(self, request: Request) -> Answer:
        timeout_s = self.config.timeout_of(request.unit)
        late = [(answer.unit, answer.function) for answer in self._open_wire().late]
        self._open_wire().late.clear()
        if self.config.framing == "tcp":
            self._transaction = self._transaction % _LAST_TRANSACTION + 1
            return await self._open_wire().ask(request, request.tcp(self._transaction), self._transaction, timeout_s)
        # RTU answers carry no number: one still under way could be taken for ours, so it goes with its connection.
        self._pending.difference_update(late)
        key = (request.unit, request.function)
        if key in self._pending:
            self.close()
            await self.open()
        try:
            return await self._open_wire().ask(request, request.rtu(), 0, timeout_s)
        except TimeoutError:
            self._pending.add(key)
            raise

    def _open_wire(self) -> _Wire:
        if self._wire is None:
            raise ConnectionLost("the connection was closed")
        return self._wire
