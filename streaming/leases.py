"""What this process knows of its leases: the connections that are ours, under which terms, and how sure that is.

Nobody but the database says that a lease is lost. While it cannot be reached the owner goes on: nobody else can claim
either, and what it read is fenced at commit if somebody could. A process that was stopped for longer than its leases
last must ask before it takes in anything new (`sure`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from streaming.lease_table import frame_term

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streaming.lease_table import Lease
    from wellos.clock import Clock

__all__ = ["Tenure"]

_NEVER = float("-inf")


class Tenure:
    """Written by the event loop; `frame_term` may be asked from any thread."""

    def __init__(self, clock: Clock, ttl_s: float, held: Mapping[int, int]) -> None:
        """`held`: connection to term, as this spool's process before us wrote them down."""
        self._clock, self._ttl_s = clock, ttl_s
        self._terms = dict(held)
        self.held = dict(held)
        """Connection to term of what is ours."""
        self.wake = asyncio.Event()
        """Set to have the leases renewed now."""
        self._renewed_at = self._failed_at = _NEVER
        self._begun = self._done = 0
        self._answered = asyncio.Condition()

    @property
    def reachable(self) -> bool:
        """The last attempt to renew was answered."""
        return self._renewed_at > self._failed_at

    def frame_term(self, connection_id: int) -> int:
        """Return what a frame of this connection carries: the term under which it was read last."""
        term = self._terms.get(connection_id)
        return 0 if term is None else frame_term(term)

    def claim(self, claimed: Mapping[int, Lease]) -> None:
        """Take over leases just claimed."""
        for connection_id, lease in claimed.items():
            self._terms[connection_id] = self.held[connection_id] = lease.term

    def drop(self, lost: Collection[int]) -> None:
        """Leases that another has, or that were given up."""
        self.held = {key: term for key, term in self.held.items() if key not in lost}

    def begin(self) -> float:
        """Note that an attempt to renew begins, and return when."""
        self._begun += 1
        self.wake.clear()
        return self._clock.monotonic()

    async def renewed(self, started: float) -> None:
        """Note that the database answered the attempt that began then."""
        self._renewed_at = started
        await self._tell()

    async def failed(self, started: float) -> None:
        """Note that the attempt that began then did not reach the database."""
        self._failed_at = started
        await self._tell()

    async def sure(self) -> None:
        """Return at once while our leases are surely ours or the database is surely away; ask it otherwise."""
        while self._unsure():
            self.wake.set()
            async with self._answered:
                if self._unsure():
                    await self._answered.wait()

    def _unsure(self) -> bool:
        # An attempt that fails may take as long as it is given, and the next begins after a pause.
        now = self._clock.monotonic()
        return now - self._renewed_at > 0.9 * self._ttl_s and now - self._failed_at > 1.8 * self._ttl_s

    async def confirm(self) -> None:
        """Ask the database now, and return once it has answered or cannot be reached."""
        wanted = self._begun + 1
        self.wake.set()
        async with self._answered:
            await self._answered.wait_for(lambda: self._done >= wanted)

    async def _tell(self) -> None:
        async with self._answered:
            self._done = self._begun
            self._answered.notify_all()
