from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np

from streaming.adapters import adapter_class
from streaming.delivery import ConnectionLost, Delivery, Gap, Rejected, Status
from wellos.clock import WallClock
from wellos.readings import Readings, empty
from wellos.registry import Connection, Protocol, Tag

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from wellos.clock import Clock

TENANT = UUID(int=7)
PATIENCE_S = 90.0


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def make_tag(tag_id: int, address: str, **fields: Any) -> Tag:  # noqa: ANN401 - any field of a tag
    return Tag(tag_id, TENANT, "PB-001", f"tag_{tag_id}", address, **fields)


def make_connection(protocol: Protocol, config: dict[str, Any], tags: Sequence[Tag]) -> Connection:
    return Connection(3, TENANT, "permian", "test", protocol, config, tuple(tags))


class Collector:
    """The pipeline's side of an adapter: keeps what it is given, and settles at once unless told to hold."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []
        self.changed = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.settling = True
        self.waiting = 0

    async def emit(self, delivery: Delivery) -> None:
        self.waiting += 1
        await self.open.wait()
        self.waiting -= 1
        self.deliveries.append(delivery)
        if self.settling and delivery.settle is not None:
            delivery.settle()
        self.changed.set()

    @property
    def readings(self) -> Readings:
        arrays = [delivery.readings for delivery in self.deliveries]
        return np.concatenate(arrays) if arrays else empty()

    @property
    def gaps(self) -> list[Gap]:
        return [gap for delivery in self.deliveries for gap in delivery.gaps]

    @property
    def rejected(self) -> list[Rejected]:
        return [item for delivery in self.deliveries for item in delivery.rejected]

    def of(self, tag_id: int) -> Readings:
        readings = self.readings
        chosen: Readings = readings[readings["tag_id"] == tag_id]
        return chosen

    def values(self, tag_id: int) -> list[float]:
        values: list[float] = self.of(tag_id)["value"].tolist()
        return values

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self.changed.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.2):
                        await self.changed.wait()


class Session:
    """One run of an adapter, as a task."""

    def __init__(self, connection: Connection, status: Status, collector: Collector, clock: Clock) -> None:
        self.adapter = adapter_class(connection.protocol)(connection, clock, status)
        self.task = asyncio.create_task(self.adapter.run(collector.emit))

    async def lost(self) -> ConnectionLost:
        async with asyncio.timeout(PATIENCE_S):
            try:
                await self.task
            except ConnectionLost as error:
                return error
        raise AssertionError("the adapter returned")


@asynccontextmanager
async def running(
    connection: Connection,
    collector: Collector,
    status: Status | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Session]:
    """Run an adapter; on the way out cancel it, and show that it left no task behind."""
    before = asyncio.all_tasks()
    session = Session(connection, status or Status(), collector, clock or WallClock())
    try:
        yield session
    finally:
        session.task.cancel()
        with suppress(asyncio.CancelledError, ConnectionLost):
            await session.task
    left = {task for task in asyncio.all_tasks() - before if not task.done() and _ours(task)}
    assert not left, left


def _ours(task: asyncio.Task[Any]) -> bool:
    """Tell the adapter's tasks from those of the server under test, which lives in the same loop."""
    coroutine: Any = task.get_coro()
    code = coroutine.cr_code
    return "/server/" not in code.co_filename and "accept_connection" not in code.co_name
