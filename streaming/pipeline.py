"""Wires the process: adapters -> intake -> journal -> drain and hot feed, with supervision, heartbeat and reports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from typing import TYPE_CHECKING

import httpx
import psycopg
import structlog

from streaming.config import load_snapshot, read_heard, save_snapshot, write_heard
from streaming.counters import Counters
from streaming.drain import Drain
from streaming.gaps import OpenGaps
from streaming.health import IngestMetrics, Server, application, listen
from streaming.heartbeat import Heartbeat, SpoolState
from streaming.hotfeed import HotFeed
from streaming.intake import Intake
from streaming.report import Reporter
from streaming.sinks.hot import HotSink
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.supervise import Supervisor
from streaming.validate import Thresholds, Validator
from streaming.watch import RegistryWatch
from wellos.errors import WellosError
from wellos.files import replace_file

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from wellos.readings import Readings
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["Pipeline"]

_LISTEN_S = 1.0
_BEAT_S = 5.0
_SETTLE_S = 2.0
_REPORT_S = 60.0
_DRAIN_S = 1.0
"""How long a stopping process goes on storing; the rest is in the spool."""

log = structlog.get_logger(__name__)


class Pipeline:
    """One ingest process."""

    def __init__(self, settings: Settings) -> None:
        """Open the spool; ConfigurationError when another process has it."""
        self._settings, self._clock = settings, settings.make_clock()
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(
            settings.data_dir / "spool",
            quota_bytes=settings.spool_quota_bytes,
            segment_bytes=settings.spool_segment_bytes,
            now_us=self._clock.micros,
            keep_bytes=settings.spool_keep_bytes,
            keep_s=settings.spool_keep_s,
            monotonic=self._clock.monotonic,
        )
        self._counters = Counters()
        validator = Validator(Thresholds.of(settings))
        self._intake = Intake(self._journal, validator, self._clock, self._counters, self._durable)
        self._warm = WarmSink(settings, self._journal.spool_id, self._clock)
        self._drain = Drain(self._journal, self._warm, self._clock, self._counters, settings.sink_batch_rows)
        self._hot = HotSink(settings, self._clock, str(self._journal.spool_id))
        self._feed = HotFeed(self._hot, settings, self._clock, self._counters, lambda: self._journal.oldest_us)
        if self._journal.oldest_us is not None:
            self._feed.missed(self._journal.oldest_us)
        self._watch = RegistryWatch(settings)
        self._heartbeat = Heartbeat(settings, self._journal.spool_id, self._clock)
        self._reporter = Reporter(settings, self._clock)
        heard = read_heard(settings.data_dir)
        open_gaps = OpenGaps(settings, self._clock).of
        self._supervisor = Supervisor(self._intake.emit, self._clock, self._counters, heard, open_gaps)
        self._rates = (self._clock.monotonic(), 0, 0)
        self.readings_per_s = 0.0
        self._seconds_left: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; FatalError when going on would lose data."""
        socket = listen(self._settings.host, self._settings.metrics_port)
        self._write_address(socket.getsockname()[1])
        metrics = IngestMetrics(
            self._counters, self._journal, lambda: self._seconds_left, lambda: self.readings_per_s, self._running
        )
        server = Server(application(metrics, self._not_ready))
        parts: list[Coroutine[Any, Any, None]] = [
            self._intake.run(),
            self._drain.run(),
            self._follow_registry(),
            self._beat(),
            server.serve(sockets=[socket]),
        ]
        if self._settings.redis_url is not None:
            parts.append(self._feed.run())
        if self._settings.dagster_url is not None:
            parts.append(self._report())
        tasks = [asyncio.create_task(part) for part in parts]
        stopping = asyncio.create_task(stop.wait())
        log.info("ingest is running", spool=str(self._journal.folder), pending_rows=self._journal.pending_rows)
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            await self._shut_down(failed=stopping not in done)
            for task in done - {stopping}:
                task.result()
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
            self._warm.abort()
            await asyncio.wait(tasks, timeout=1)
            socket.close()
            (self._settings.data_dir / "ingest.json").unlink(missing_ok=True)

    async def _shut_down(self, *, failed: bool) -> None:
        """Stop the adapters, make durable what they delivered, and say goodbye."""
        log.info("ingest stops", pending_rows=self._journal.pending_rows)
        self._feed.stop()
        await _within(1.0, self._supervisor.stop())
        if not failed:
            await _within(1.0, self._intake.settled())
            if self._drain.available:
                await _within(_DRAIN_S, self._drain.caught_up())
        self._save_heard(self._heard())
        await _within(0.5, asyncio.to_thread(self._say, stopped=True))

    def _durable(self, batches: Sequence[tuple[str, Readings]]) -> None:
        self._drain.wake()
        if self._settings.redis_url is not None:
            self._feed.offer(batches)

    def _running(self) -> list[tuple[Connection, Any]]:
        return [(item, self._supervisor.status[key]) for key, item in self._supervisor.connections.items()]

    def _not_ready(self) -> str:
        if not self._supervisor.connections:
            return "no connection is configured yet"
        if self._intake.full:
            return "the spool is full"
        if not self._drain.available and self._journal.pending_rows:
            return "the database is not available; readings are kept in the spool"
        return "" if self._watch.connected else "the registry cannot be read"

    async def _apply(self, connections: Sequence[Connection]) -> None:
        self._intake.configure(connections)
        self._feed.configure(connections)
        await self._supervisor.apply(connections)
        log.info("connections", running=len(connections), tags=sum(len(item.tags) for item in connections))

    async def _follow_registry(self) -> None:
        """Run what the registry says, now and after every change; without a database, what it said last."""
        pause, told = 0.5, False
        while True:
            try:
                connections = await asyncio.to_thread(self._watch.read)
                self._keep(save_snapshot, connections)
                await self._apply(connections)
                pause, told = 0.5, False
                changed = False
                while not changed:
                    changed = await asyncio.to_thread(self._watch.changed, _LISTEN_S)
            except (psycopg.Error, WellosError) as error:
                self._watch.close()
                if not told:
                    log.warning("the registry cannot be read; trying again", reason=str(error))
                    told = True
                await self._apply_snapshot()
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, no secret
                pause = min(pause * 2, 10.0)

    async def _apply_snapshot(self) -> None:
        if not self._supervisor.connections:
            connections = load_snapshot(self._settings.data_dir)
            if connections:
                log.warning("running the connections that the registry named last")
                await self._apply(connections)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT_S)
            self._measure()
            heard = self._heard()
            # Only what is durable counts as heard: while the spool is full, the file keeps what it says.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._intake.settled(), _SETTLE_S)
                self._save_heard(heard)
            try:
                await asyncio.to_thread(self._say)
            except (psycopg.Error, WellosError) as error:
                log.warning("the heartbeat could not be written", reason=str(error))

    def _measure(self) -> None:
        now, rows, size = self._clock.monotonic(), self._counters.terms["spooled"], self._journal.appended_bytes
        then, rows_then, size_then = self._rates
        self._rates = (now, rows, size)
        self.readings_per_s = (rows - rows_then) / (now - then)
        bytes_per_s = (size - size_then) / (now - then)
        free = max(0, self._journal.quota_bytes - self._journal.used_bytes)
        self._seconds_left = free / bytes_per_s if bytes_per_s > 0 else None

    def _say(self, *, stopped: bool = False) -> None:
        journal = self._journal
        state = SpoolState(journal.oldest_us, journal.pending_rows, journal.used_bytes, self._seconds_left)
        supervisor = self._supervisor
        self._heartbeat.beat(
            state,
            dict(supervisor.connections),
            dict(supervisor.status),
            dict(self._counters.by_connection),
            stopped=stopped,
        )

    def _heard(self) -> dict[int, int]:
        return {key: status.heard_us for key, status in self._supervisor.status.items() if status.heard_us}

    def _save_heard(self, heard: dict[int, int]) -> None:
        self._keep(write_heard, heard)

    def _keep(self, write: Callable[[Path, Any], None], what: object) -> None:
        """Write a file beside the spool; a full disk must stop neither the drain nor the goodbye."""
        try:
            write(self._settings.data_dir, what)
        except OSError as error:
            log.warning("a file beside the spool could not be written", reason=str(error))

    async def _report(self) -> None:
        told = False
        while True:
            await asyncio.sleep(_REPORT_S if told else _BEAT_S)
            oldest = self._journal.oldest_us
            until = self._clock.micros() if oldest is None else oldest
            try:
                sent = await asyncio.to_thread(self._reporter.run_once, stored_until_us=until)
            except (httpx.HTTPError, psycopg.Error, WellosError, OSError) as error:
                self._reporter.close()
                log.warning("Dagster was not told; it will be tried again", reason=str(error) or type(error).__name__)
                told = True
                continue
            told = False
            if sent:
                log.info("told Dagster of closed hours", reports=sent)

    def _write_address(self, port: int) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        content = {"pid": os.getpid(), "url": f"http://{host}:{port}", "spool_id": str(self._journal.spool_id)}
        replace_file(self._settings.data_dir / "ingest.json", json.dumps(content))


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Give this part of stopping its time, and go on without it after that."""
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("a part of ingest did not stop in time")
    except (psycopg.Error, WellosError) as error:
        log.warning("the last heartbeat could not be written", reason=str(error))
