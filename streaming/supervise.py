"""Keeps one adapter running for each connection: a new one after every failure, none of them stopping another."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

import structlog

from streaming.adapters import adapter_class
from streaming.delivery import ConnectionLost, Status
from wellos.errors import WellosError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streaming.counters import Counters
    from streaming.delivery import Adapter, Delivery, Gap
    from wellos.clock import Clock
    from wellos.registry import Connection

__all__ = ["Supervisor"]

_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_CHANGE_S = 10.0
_CANCEL_S = 5.0
_STABLE_S = 30.0
"""An adapter that ran this long starts again after the shortest pause."""

log = structlog.get_logger(__name__)


class Supervisor:
    """The connections of this process."""

    def __init__(
        self,
        emit: Callable[[Delivery], Awaitable[None]],
        clock: Clock,
        counters: Counters,
        heard: dict[int, int],
        open_gaps: Callable[[int], Awaitable[Sequence[Gap]]] | None = None,
        confirm: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`heard`: when each peer was last heard by whoever read it before us; may grow. `open_gaps` asks the database.

        `confirm` is awaited before a new attempt to connect: a peer that left us may have done so for the connection's
        new owner, and then this connection is taken away instead.
        """
        self._open_gaps, self._confirm = open_gaps, confirm
        self._emit, self._clock, self._counters, self._heard = emit, clock, counters, heard
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._adapters: dict[int, Adapter] = {}
        self.connections: dict[int, Connection] = {}
        self.status: dict[int, Status] = {}

    async def apply(self, connections: Sequence[Connection]) -> None:
        """Run exactly these connections; one that did not change goes on undisturbed."""
        wanted = {item.connection_id: item for item in connections}
        changed = [key for key, old in self.connections.items() if wanted.get(key) != old]
        alive = await asyncio.gather(*(self._changed_alive(key, wanted.get(key)) for key in changed))
        ended = [key for key, taken_over in zip(changed, alive, strict=True) if not taken_over]
        await self._cancel(ended)
        for key in ended:
            self.connections.pop(key)
            if key not in wanted:
                self._set(self.status[key], "stopped", "")
        for key, item in wanted.items():
            if key not in self.connections:
                self.connections[key] = item
                status = self.status.setdefault(key, Status())
                status.heard_us = max(status.heard_us, self._heard.get(key, 0))
                status.recall = None if self._open_gaps is None else partial(self._open_gaps, key)
                self._tasks[key] = asyncio.create_task(self._keep_running(item, status), name=f"connection {item.name}")

    async def _changed_alive(self, key: int, wanted: Connection | None) -> bool:
        """Have the running adapter take over the change; false when it has to be replaced."""
        adapter = self._adapters.get(key)
        if wanted is None or adapter is None:
            return False
        try:
            if not await asyncio.wait_for(adapter.change(wanted), _CHANGE_S):
                log.info("a change needs a new start of its connection", connection=wanted.name)
                return False
        except (ConnectionLost, TimeoutError, WellosError) as error:
            reason = str(error) or type(error).__name__
            log.warning("a change needs a new start of its connection", connection=wanted.name, reason=reason)
            return False
        except Exception:  # supervision: one connection's fault must not keep a change from the others
            log.exception("a change failed in its adapter", connection=wanted.name)
            return False
        self.connections[key] = wanted
        return True

    async def stop(self) -> None:
        """Stop every adapter."""
        await self._cancel(list(self.connections))
        for status in self.status.values():
            self._set(status, "stopped", "")

    async def _cancel(self, keys: Sequence[int]) -> None:
        tasks = [self._tasks.pop(key) for key in keys]
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=_CANCEL_S)
        for task in late:
            log.warning("an adapter did not stop in time", task=task.get_name())

    async def _keep_running(self, connection: Connection, status: Status) -> None:
        logger = log.bind(connection=connection.name, protocol=connection.protocol)
        pause = _SHORTEST_PAUSE_S
        while True:
            started = self._clock.monotonic()
            self._set(status, "connecting", status.error)
            connection = self.connections.get(connection.connection_id, connection)
            try:
                adapter = adapter_class(connection.protocol)(connection, self._clock, status)
                self._adapters[connection.connection_id] = adapter
                await adapter.run(self._emit)
                reason = "the adapter ended"
            except ConnectionLost as error:
                reason = str(error) or "connection lost"
            except WellosError as error:  # what a person must correct: said without a traceback
                reason = str(error)
            except Exception as error:  # supervision: one connection's fault must not stop another's readings
                logger.exception("the adapter failed")
                reason = f"{type(error).__name__}: {error}"
            finally:
                self._adapters.pop(connection.connection_id, None)
            self._set(status, "failed", reason)
            if self._clock.monotonic() - started > _STABLE_S:
                pause = _SHORTEST_PAUSE_S
            self._counters.restarts[connection.tenant, connection.name] += 1
            logger.warning("connection lost", reason=reason, next_attempt_s=round(pause, 1))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, no secret
            pause = min(pause * 2, _LONGEST_PAUSE_S)
            if self._confirm is not None:
                await self._confirm()

    def _set(self, status: Status, state: str, error: str) -> None:
        if status.state != state:
            status.state, status.since_us = state, self._clock.micros()
        status.error = error
