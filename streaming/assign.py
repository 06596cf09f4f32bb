"""Which connections this instance runs: those of the registry whose leases it holds, followed while both change."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import psycopg
import structlog

from streaming.config import keep, load_snapshot, save_snapshot, write_leases
from streaming.lease_table import CHANNEL
from streaming.watch import REGISTRY
from streaming.worker import Worker
from wellos.errors import WellosError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from streaming.lease_table import Census, LeaseTable, Round
    from streaming.leases import Tenure
    from streaming.running import Running
    from streaming.watch import RegistryWatch
    from wellos.clock import Clock
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["Assignment"]

_LISTEN_S = 1.0
_SETTLE_S = 2.0
_AFTER_GIVING_UP_S = 0.3
_SILENT_TTLS = 3
"""After so many time-outs of a lease in a row without an answer, whatever waits for the database is cut loose."""

log = structlog.get_logger(__name__)


class Assignment:
    """Two loops: `follow_registry` and `keep_leases`."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        tenure: Tenure,
        table: LeaseTable,
        watch: RegistryWatch,
        running: Running,
        heard: dict[int, int],
        on_silence: Callable[[], None],
    ) -> None:
        """`heard`: what is durable of each peer's last word; `on_silence` cuts the other links to the database."""
        self._settings, self._clock, self._tenure, self._table, self._watch = settings, clock, tenure, table, watch
        self._running, self._heard, self._on_silence = running, heard, on_silence
        self._worker = Worker("leases")
        self._lock = asyncio.Lock()
        self._registry: dict[int, Connection] | None = None
        self._asked = self._stopping = False
        self._silent_since: float | None = None
        self._told = ""
        self._unclaimed = 0
        self.census: Census | None = None

    @property
    def unclaimed(self) -> int:
        """Connections that nobody reads, as far as this instance knows."""
        return self._unclaimed

    @property
    def configured(self) -> bool:
        """The registry names at least one connection, ours or not."""
        return bool(self._registry)

    async def follow_registry(self) -> None:
        """Take over what the registry says, now and after every change; without a database, what it said last."""
        pause, told = 0.5, False
        while True:
            try:
                connections = await asyncio.to_thread(self._watch.read)
                keep(save_snapshot, self._settings.data_dir, connections)
                await self._take(connections)
                pause, told = 0.5, False
                heard: set[str] = set()
                while REGISTRY not in heard:
                    heard = await asyncio.to_thread(self._watch.heard, _LISTEN_S)
                    if CHANNEL in heard:
                        self._tenure.wake.set()
            except (psycopg.Error, WellosError) as error:
                self._watch.close()
                if not told:
                    log.warning("the registry cannot be read; trying again", reason=str(error))
                    told = True
                await self._take_snapshot()
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, 10.0)

    async def keep_leases(self) -> None:
        """Renew what is ours, claim what is missing from our share, and give up what is beyond it."""
        pause, shortest = 0.5, self._settings.lease_s * 0.3
        while not self._stopping:
            started = self._tenure.begin()
            try:
                done = await self._round()
            except (psycopg.Error, WellosError, TimeoutError) as error:
                await self._failed(error, started)
                wait = pause * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, shortest)
            else:
                pause = 0.5
                wait = await self._follow(done, started)
            try:
                await asyncio.wait_for(self._tenure.wake.wait(), wait)
            except TimeoutError:
                continue
        await asyncio.Event().wait()

    async def release(self) -> None:
        """Give up every lease: this instance stops, and what it delivered is durable."""
        self._stopping = True
        held = dict(self._tenure.held)
        if self.census is not None and len(self.census.members) > 1:
            keep(
                write_leases, self._settings.data_dir, {}
            )  # the others read them now, whatever we can see of it at the next start
        if self._tenure.reachable:
            await self._worker.run(self._table.release, held, self._running.heard(), leave=True)

    async def _round(self) -> Round:
        call = self._worker.run(self._table.round, dict(self._tenure.held), dict(self._heard))
        try:
            return await asyncio.wait_for(call, self._settings.lease_s * 0.6)
        except TimeoutError:
            self._table.abort()
            raise

    async def _failed(self, error: Exception, started: float) -> None:
        """Go on with what is ours: nobody else can claim either, and if somebody can, what we read is fenced."""
        self._tell(f"leases cannot be renewed: {' '.join(str(error).split()) or 'no answer'}", log.warning)
        now = self._clock.monotonic()
        # A time-out that comes so late is our own standing still, and says nothing of the database.
        await self._tenure.failed(started if now - started < self._settings.lease_s else float("-inf"))
        if not isinstance(error, TimeoutError):
            self._silent_since = None
        elif self._silent_since is None:
            self._silent_since = now
        elif now - self._silent_since > _SILENT_TTLS * self._settings.lease_s:
            self._silent_since = now
            self._on_silence()
        if not self._asked:
            self._asked = True
            await self._run_ours()

    async def _follow(self, done: Round, started: float) -> float:
        """Run what is ours now; return the seconds until the next round."""
        tenure = self._tenure
        self._silent_since, self.census = None, done.census
        self._unclaimed = max(0, done.census.free - len(done.claimed))
        before = dict(tenure.held)
        lost = before.keys() - done.kept
        tenure.drop(lost)
        tenure.claim(done.claimed)
        for key, lease in done.claimed.items():
            self._heard[key] = max(self._heard.get(key, 0), lease.heard_us)
        if tenure.held != before:
            keep(write_leases, self._settings.data_dir, tenure.held)
        await tenure.renewed(started)
        if lost and self._asked:
            log.warning("connections are no longer ours", connections=self._names(lost))
        if done.claimed:
            log.info("connections claimed", connections=self._names(done.claimed), share=done.share)
        if tenure.held != before or not self._asked:
            self._asked = True
            await self._run_ours()
        self._tell_unread(done)
        surplus = len(tenure.held) - done.share
        limit = self._settings.max_connections
        if surplus > 0 and (not done.census.free or (limit is not None and len(tenure.held) > limit)):
            await self._give_up(sorted(tenure.held)[-max(1, surplus // 8) :])
            return _AFTER_GIVING_UP_S
        if surplus > 0:
            return _AFTER_GIVING_UP_S
        return self._pause(done.census)

    def _pause(self, census: Census) -> float:
        """Return when to renew next: sooner when another's lease may run out."""
        usual = self._settings.lease_s * 0.3
        return usual if census.next_expiry_s is None else max(0.05, min(usual, census.next_expiry_s + 0.05))

    async def _give_up(self, ids: Sequence[int]) -> None:
        """Leave connections to an instance that has fewer: stopped, durable, released."""
        held = {key: self._tenure.held[key] for key in ids}
        self._tenure.drop(held)
        keep(write_leases, self._settings.data_dir, self._tenure.held)
        log.info("connections given up", connections=self._names(held))
        await self._run_ours()
        try:
            await asyncio.wait_for(self._running.settled(), _SETTLE_S)
        except TimeoutError:
            log.warning("the spool is full: what it could not take is not acknowledged", connections=self._names(held))
        try:
            await self._worker.run(self._table.release, held, self._running.heard())
        except (psycopg.Error, WellosError) as error:
            log.warning("leases could not be released; they run out by themselves", reason=str(error))

    async def _take(self, connections: Sequence[Connection]) -> None:
        self._registry = {item.connection_id: item for item in connections}
        self._tenure.wake.set()  # there may be more to claim
        await self._run_ours()

    async def _take_snapshot(self) -> None:
        if self._registry is None:
            connections = load_snapshot(self._settings.data_dir)
            if connections:
                log.warning("running the connections that were ours last", connections=len(self._tenure.held))
                await self._take(connections)

    async def _run_ours(self) -> None:
        """Have exactly our connections running."""
        async with self._lock:
            if self._registry is None or not self._asked or self._stopping:
                return
            await self._running.run([item for key, item in self._registry.items() if key in self._tenure.held])

    def _tell_unread(self, done: Round) -> None:
        if self._unclaimed and not done.census.room:
            text = "every instance is at its maximum: some connections are read by nobody"
            self._tell(text, log.warning, unclaimed=self._unclaimed, instances=len(done.census.members))
        else:
            self._tell("", log.info)

    def _tell(self, text: str, say: Callable[..., object], **fields: object) -> None:
        """Log what is wrong once, and once that it is over."""
        if text == self._told:
            return
        if text:
            say(text, **fields)
        else:
            log.info("leases are in order again")
        self._told = text

    def _names(self, ids: Iterable[int]) -> list[str]:
        registry = self._registry or {}
        return [registry[key].name if key in registry else str(key) for key in ids]
