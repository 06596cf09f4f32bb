"""The Modbus client library for one TCP connection: reads only, one at a time, with tries of our own."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from streaming.adapters.modbus_decode import BlockError
from streaming.delivery import ConnectionLost
from wellos.quality import MODBUS_NO_REPLY

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from streaming.adapters.modbus_decode import Block
    from wellos.protocols.modbus import ModbusConfig

__all__ = ["Link", "Reply"]

_BUSY = frozenset({5, 6, 7})
"""Acknowledge, device busy, negative acknowledge: come again later."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.05, 1.0
_UNANSWERED = 3
"""Requests in a row without an answer, from any unit, after which the peer counts as gone."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The outcome of one read: exception code (0 none, MODBUS_NO_REPLY) and the raw values of the block's tags."""

    status: int
    values: NDArray[np.float64]


class Link:
    """One connection to a device or gateway."""

    def __init__(self, config: ModbusConfig) -> None:
        """Prepare the client."""
        # What it reports as errors is what we report as readings and lost connections.
        logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
        self._config = config
        self._closed = asyncio.Event()
        self._unanswered = 0
        self._silent: set[int] = set()
        self._client = AsyncModbusTcpClient(
            config.host,
            port=config.port,
            timeout=config.timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._on_connect,
        )

    @property
    def address(self) -> str:
        """Host and port."""
        return f"{self._config.host}:{self._config.port}"

    async def open(self) -> None:
        """Connect; ConnectionLost says why not."""
        try:
            async with asyncio.timeout(self._config.timeout_s):
                connected = await self._client.connect()
        except (OSError, TimeoutError, ModbusException) as error:
            raise ConnectionLost(f"{self.address}: cannot connect: {str(error) or type(error).__name__}") from error
        if not connected:
            raise ConnectionLost(f"{self.address}: cannot connect")

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def _on_connect(self, connected: bool) -> None:
        if not connected:
            self._closed.set()

    async def read(self, block: Block) -> Reply:
        """Read a block; a unit that did not answer last time gets one try only, so that the others are not held up."""
        tries = 1 if block.unit in self._silent else 1 + self._config.retries
        status, wait_s = MODBUS_NO_REPLY, _FIRST_WAIT_S
        for left in range(tries - 1, -1, -1):
            status, values = await self._once(block)
            if status == 0:
                return Reply(0, values)
            if status in _BUSY and left:
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            elif status != MODBUS_NO_REPLY:
                break
        return Reply(status, np.full(len(block.positions), np.nan))

    async def _once(self, block: Block) -> tuple[int, NDArray[np.float64]]:
        nothing = np.empty(0)
        try:
            answer = await self._ask(block)
        except (ModbusException, TimeoutError, OSError) as error:
            self._check_open()
            self._silent.add(block.unit)
            self._unanswered += 1
            if self._unanswered >= _UNANSWERED * (1 + self._config.retries):
                raise ConnectionLost(f"{self.address}: {self._unanswered} requests without an answer") from error
            return MODBUS_NO_REPLY, nothing
        self._unanswered = 0
        self._silent.discard(block.unit)
        if answer.isError():
            return int(answer.exception_code), nothing
        try:
            return 0, block.decode(answer.bits if block.bits else answer.registers)
        except BlockError:
            return MODBUS_NO_REPLY, nothing

    async def _ask(self, block: Block) -> Any:  # noqa: ANN401 - a PDU of the library
        """Send one read request and wait for its answer, or for the end of the connection."""
        self._check_open()
        # The only requests there are: function codes 1 to 4.
        read = {
            "coil": self._client.read_coils,
            "discrete": self._client.read_discrete_inputs,
            "input": self._client.read_input_registers,
            "holding": self._client.read_holding_registers,
        }[block.table]
        request = asyncio.ensure_future(read(block.start, count=block.count, device_id=block.unit))
        closed = asyncio.ensure_future(self._closed.wait())
        try:
            await asyncio.wait({request, closed}, return_when=asyncio.FIRST_COMPLETED)
            if not request.done():
                self._check_open()
            return await request
        finally:
            for task in (request, closed):
                task.cancel()
            await asyncio.gather(request, closed, return_exceptions=True)

    def _check_open(self) -> None:
        if self._closed.is_set() or not self._client.connected:
            raise ConnectionLost(f"{self.address}: the connection was closed")
