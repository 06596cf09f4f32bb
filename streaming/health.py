"""The process as others see it: /metrics, /livez and /readyz over HTTP.

/livez answers while the event loop runs, whatever the database does; /readyz is 200 when readings are taken in and
reach the database, else 503 with the reason.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import TYPE_CHECKING

import structlog
import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from streaming.counters import LATENCY_BOUNDS_S
from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric
    from starlette.requests import Request

    from streaming.counters import Counters
    from streaming.delivery import Status
    from streaming.level import SpoolLevel
    from streaming.spool import Journal
    from wellos.registry import Connection

__all__ = ["IngestMetrics", "Server", "application", "listen"]


_PORTS = 20

log = structlog.get_logger(__name__)


class IngestMetrics(Collector):
    """Reads the counters when it is asked."""

    def __init__(
        self,
        counters: Counters,
        journal: Journal,
        level: SpoolLevel,
        connections: Callable[[], Iterable[tuple[Connection, Status]]],
        leases: Callable[[], tuple[int, int]],
        servers: Callable[[], Mapping[str, bool]],
        now_us: Callable[[], int],
    ) -> None:
        """`connections`: those that run; `leases`: ours and nobody's.

        `servers`: whether each server that we write to answered last.
        """
        self._counters, self._journal, self._level = counters, journal, level
        self._connections, self._leases, self._servers, self._now_us = connections, leases, servers, now_us

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        counters = self._counters
        ingested = CounterMetricFamily(
            "scada_readings_ingested",
            "Readings made durable in the spool.",
            labels=["tenant_id", "protocol", "quality"],
        )
        for labels, n in list(counters.ingested.items()):
            ingested.add_metric(labels, n)
        yield ingested
        errors = CounterMetricFamily(
            "scada_validation_errors", "What validation found.", labels=["tenant_id", "error_type"]
        )
        for pair, n in list(counters.findings.items()):
            errors.add_metric(pair, n)
        yield errors
        yield self._latency()
        yield GaugeMetricFamily("scada_readings_per_second", "Readings a second, lately.", self._level.readings_per_s)
        yield from self._of_connections()
        yield from self._of_spool()
        up = GaugeMetricFamily("scada_server_up", "1 where the last call succeeded.", labels=["server"])
        for server, available in self._servers().items():
            up.add_metric([server], int(available))
        yield up
        for name, label, counter, text in (
            ("scada_accounting", "term", counters.terms, "Terms of the accounting identity, intake side."),
            ("scada_stored", "term", counters.stored, "Terms of the accounting identity, sink side."),
            ("scada_sink_errors", "kind", counters.sink_errors, "Failed commits, by what the database said."),
            ("scada_hot_tier", "term", counters.hot, "Readings written to Redis or not, failed calls, hours packed."),
        ):
            family = CounterMetricFamily(name, text, labels=[label])
            for term, n in list(counter.items()):
                family.add_metric([term], n)
            yield family

    def _latency(self) -> HistogramMetricFamily:
        total, buckets = 0, []
        for bound, n in zip([*map(str, LATENCY_BOUNDS_S), "+Inf"], self._counters.latency.tolist(), strict=True):
            total += n
            buckets.append((bound, total))
        family = HistogramMetricFamily("scada_end_to_end_latency_seconds", "Source time to commit in PostgreSQL.")
        family.add_metric([], buckets, self._counters.latency_sum_s)
        return family

    def _of_connections(self) -> Iterator[Metric]:
        active = GaugeMetricFamily("scada_active_connections", "Connected, by protocol.", labels=["protocol"])
        up = GaugeMetricFamily(
            "scada_connection_up", "1 while connected.", labels=["tenant_id", "connection", "protocol"]
        )
        missed = CounterMetricFamily(
            "scada_polls_missed", "Polls that fell behind their due time.", labels=["tenant_id", "connection"]
        )
        by_protocol: dict[str, int] = {}
        for connection, status in self._connections():
            connected = int(status.state == "connected")
            by_protocol[connection.protocol] = by_protocol.get(connection.protocol, 0) + connected
            if connection.protocol == "modbus":
                missed.add_metric([connection.tenant, connection.name], status.missed_polls)
            up.add_metric([connection.tenant, connection.name, connection.protocol], connected)
        for protocol, n in by_protocol.items():
            active.add_metric([protocol], n)
        again = CounterMetricFamily(
            "scada_connection_restarts", "Adapters started again.", labels=["tenant_id", "connection"]
        )
        for pair, n in list(self._counters.restarts.items()):
            again.add_metric(pair, n)
        yield from (active, up, missed, again)
        held, unclaimed = self._leases()
        yield GaugeMetricFamily("scada_leases_held", "Connections that this instance reads.", held)
        yield GaugeMetricFamily("scada_connections_unclaimed", "Connections that no instance reads.", unclaimed)

    def _of_spool(self) -> Iterator[Metric]:
        journal, left = self._journal, self._level.seconds_left
        oldest = journal.oldest_us
        age = 0.0 if oldest is None else max(0.0, (self._now_us() - oldest) / 1e6)
        for name, text, value in (
            ("scada_spool_pending_rows", "Readings in the spool, not yet stored.", journal.pending_rows),
            ("scada_spool_bytes", "Bytes of the spool on disk that are not stored yet.", journal.used_bytes),
            ("scada_spool_kept_bytes", "Bytes that are stored and kept while there is room.", journal.kept_bytes),
            ("scada_spool_quota_bytes", "Most bytes the spool may take.", journal.quota_bytes),
            ("scada_spool_alarm", "1 from 80 % of the quota, or of the disk, on.", int(self._level.alarm)),
            ("scada_spool_pending_frames", "Frames not yet stored.", journal.synced_seq - journal.stored_seq),
            ("scada_spool_oldest_seconds", "Age of the oldest source time that is not stored yet.", age),
        ):
            yield GaugeMetricFamily(name, text, value)
        if left is not None:
            yield GaugeMetricFamily("scada_spool_seconds_left", "Until the quota is used up, at this rate.", left)


def application(
    metrics: IngestMetrics, reason_not_ready: Callable[[], str], warning: Callable[[], str] = str
) -> Starlette:
    """Return the HTTP application; `reason_not_ready` is empty when ready, `warning` when that will last."""
    registry = CollectorRegistry()
    registry.register(metrics)
    ProcessCollector(registry=registry)

    async def show(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def live(_request: Request) -> Response:
        return PlainTextResponse("live\n")

    async def ready(_request: Request) -> Response:
        reason = reason_not_ready()
        ahead = warning()
        return PlainTextResponse(f"{reason or 'ready'}{ahead and f'; {ahead}'}\n", status_code=503 if reason else 200)

    return Starlette(routes=[Route("/metrics", show), Route("/livez", live), Route("/readyz", ready)])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is a free one, one in use gives way to the next that is free.

    Several instances on one machine may so have the same settings. ConfigurationError when no port can be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + _PORTS, 65_536) if port else 1):
        try:
            found = socket.create_server((host, candidate), family=family)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and port:
                continue
            remedy = "Set WELLOS_METRICS_PORT to a free port, or to 0"
            message = f"cannot listen on {host}:{port}: {error.strerror}"
            raise ConfigurationError([Problem(message, remedy, field="WELLOS_METRICS_PORT")]) from error
        if candidate != port:
            log.warning("the metrics port is in use: taking the next one", wanted=port, port=candidate)
        return found
    remedy = "Set WELLOS_METRICS_PORT to a free port, or to 0"
    message = f"{host}: ports {port} to {port + _PORTS - 1} are all in use"
    raise ConfigurationError([Problem(message, remedy, field="WELLOS_METRICS_PORT")])


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    def __init__(self, app: Starlette) -> None:
        """Serve `app` quietly."""
        super().__init__(
            uvicorn.Config(
                app, log_config=None, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1
            )
        )

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield
