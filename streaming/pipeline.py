"""Wires the process: adapters -> intake -> journal -> drain and hot feed, with supervision, heartbeat and reports."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import psycopg
import structlog

from streaming.assign import Assignment
from streaming.config import read_heard, read_leases
from streaming.counters import Counters
from streaming.drain import Drain
from streaming.gaps import OpenGaps
from streaming.health import IngestMetrics, Server, application, listen
from streaming.heartbeat import Heartbeat
from streaming.hotfeed import HotFeed
from streaming.intake import Intake
from streaming.lease_table import LeaseTable
from streaming.leases import Tenure
from streaming.report import Reporter, report
from streaming.running import Running
from streaming.sinks.hot import HotSink
from streaming.sinks.warm import WarmSink
from streaming.spool import Journal
from streaming.supervise import Supervisor
from streaming.validate import StateFile, Thresholds, Validator
from streaming.vitals import Vitals
from streaming.watch import RegistryWatch
from wellos.errors import WellosError
from wellos.files import make_folder, replace_file

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from typing import Any

    from streaming.delivery import Status
    from wellos.readings import Readings
    from wellos.registry import Connection
    from wellos.settings import Settings

__all__ = ["Pipeline"]

_DRAIN_S = 1.0
"""How long a stopping process goes on storing; the rest is in the spool."""

log = structlog.get_logger(__name__)


class Pipeline:
    """One ingest process."""

    def __init__(self, settings: Settings) -> None:
        """Open the spool; ConfigurationError when another process has it."""
        self._settings, self._clock = settings, settings.make_clock()
        make_folder(settings.data_dir)
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
        self._tenure = Tenure(self._clock, settings.lease_s, read_leases(settings.data_dir))
        memory = StateFile(settings.data_dir)
        memory.load(validator)
        self._intake = Intake(
            self._journal, validator, self._clock, self._counters, self._durable, self._tenure, memory
        )
        self._warm = WarmSink(settings, self._journal.spool_id, self._clock)
        self._drain = Drain(self._journal, self._warm, self._clock, self._counters, settings.sink_batch_rows)
        self._hot = HotSink(settings, self._clock, str(self._journal.spool_id))
        self._feed = HotFeed(self._hot, settings, self._clock, self._counters, self._journal.progress)
        if self._journal.oldest_us is not None:
            self._feed.missed(self._journal.oldest_us)
        self._watch = RegistryWatch(settings)
        self._heartbeat = Heartbeat(settings, self._journal.spool_id, self._clock)
        heard = read_heard(settings.data_dir)
        open_gaps = OpenGaps(settings, self._clock).of
        supervisor = Supervisor(self._intake.emit, self._clock, self._counters, heard, open_gaps, self._tenure.confirm)
        self._running = Running(supervisor, self._intake, self._feed)
        self._vitals = Vitals(
            settings, self._clock, self._journal, self._counters, self._running, self._heartbeat, heard
        )
        self._assignment = Assignment(
            settings,
            self._clock,
            self._tenure,
            LeaseTable(settings, self._journal.spool_id, self._clock),
            self._watch,
            self._running,
            heard,
            self._cut_loose,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until `stop`; FatalError when going on would lose data."""
        socket = listen(self._settings.host, self._settings.metrics_port)
        self._write_address(socket.getsockname()[1])
        metrics = IngestMetrics(
            self._counters,
            self._journal,
            self._vitals.level,
            self._states,
            lambda: (len(self._tenure.held), self._assignment.unclaimed),
            lambda: {"database": self._drain.available, "redis": self._feed.available},
            self._clock.micros,
        )
        server = Server(application(metrics, self._not_ready, lambda: self._vitals.level.warning))
        parts: list[Coroutine[Any, Any, None]] = [
            self._intake.run(),
            self._intake.remember(),
            self._drain.run(),
            self._assignment.follow_registry(),
            self._assignment.keep_leases(),
            self._vitals.beat(),
            server.serve(sockets=[socket]),
        ]
        if self._settings.redis_url is not None:
            parts.append(self._feed.run())
        if self._settings.dagster_url is not None:
            parts.append(report(Reporter(self._settings, self._clock), self._journal, self._clock))
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
        ended = await _within(1.0, "adapters", self._running.stop())
        if not failed:
            await _within(1.0, "intake", self._intake.settled())
            await _within(0.5, "checks", self._intake.save())
            if ended:  # an adapter that still reads keeps its lease until that expires
                await _within(0.5, "leases", self._assignment.release())
            if self._drain.available:
                await _within(_DRAIN_S, "drain", self._drain.caught_up())
        self._vitals.save_heard(self._running.heard())
        await _within(0.5, "heartbeat", asyncio.to_thread(self._vitals.say, stopped=True))

    def _durable(self, batches: Sequence[tuple[str, Readings]]) -> None:
        self._drain.wake()
        if self._settings.redis_url is not None:
            self._feed.offer(batches)

    def _states(self) -> list[tuple[Connection, Status]]:
        status = self._running.status()
        return [(item, status[key]) for key, item in self._running.connections().items()]

    def _not_ready(self) -> str:
        if not self._assignment.configured:
            return "no connection is configured yet"
        if self._intake.full:
            return "the spool is full"
        if not self._drain.available and self._journal.pending_rows:
            return "the database is not available; readings are kept in the spool"
        return "" if self._watch.connected else "the registry cannot be read"

    def _cut_loose(self) -> None:
        """The database has answered nobody for long: have whatever waits for it begin anew."""
        log.warning("the database does not answer: every connection to it is made anew")
        for link in (self._warm, self._watch, self._heartbeat):
            link.abort()

    def _write_address(self, port: int) -> None:
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        content = {"pid": os.getpid(), "url": f"http://{host}:{port}", "spool_id": str(self._journal.spool_id)}
        replace_file(self._settings.data_dir / "ingest.json", json.dumps(content))


async def _within(seconds: float, part: str, work: Coroutine[Any, Any, None]) -> bool:
    """Give this part of stopping its time, and go on without it after that; tell whether it ended well."""
    try:
        await asyncio.wait_for(work, seconds)
    except TimeoutError:
        log.warning("a part of ingest did not stop in time", part=part)
    except (psycopg.Error, WellosError) as error:
        log.warning("a part of ingest could not say goodbye", part=part, reason=str(error))
    else:
        return True
    return False
