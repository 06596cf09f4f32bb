"""The order in which the platform starts, and what each part is told; `wellos up` is this."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import SecretStr

from wellos.clock import WallClock, parse_clock
from wellos.embedded import broker, postgres, processes, redis
from wellos.embedded.dagster_database import make_beside
from wellos.embedded.figures import NOTHING, gather
from wellos.embedded.graphql import dagster_health
from wellos.embedded.partitions import first_partition
from wellos.embedded.ports import Ports
from wellos.embedded.processes import Environment
from wellos.embedded.scaled import ClockFile
from wellos.embedded.server import private_folder, reach
from wellos.embedded.simulation import FieldOptions, Simulation
from wellos.embedded.state import write_state
from wellos.embedded.supervisor import Part, Supervisor
from wellos.embedded.verify import verify_given
from wellos.errors import UnreachableError
from wellos.fleet.apply import apply
from wellos.fleet.check import check_file
from wellos.logs import hide_secrets
from wellos.storage import warm
from wellos.storage.migrations import migrate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from wellos.embedded.server import Server
    from wellos.embedded.state import DataLock
    from wellos.embedded.supervisor import Report
    from wellos.settings import Settings

__all__ = ["Options", "Platform"]

_UI_PORT = 3000
_SECRETS = {"database_url", "dagster_database_url", "redis_url", "mqtt_url"}
"""Settings that hold a password."""
_NOTE_S = 1.0
_FIGURES_S = 2.0
_SERVERS, _DAGSTER, _INGEST = 1, 2, 3
_FIELD = _DAGSTER
"""Groups in the order of start; they stop in reverse."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line of `wellos up` chose."""

    speed: float | None = None
    wells: int = 12
    seed: int = 1
    replay: Path | None = None
    zone: str = "America/Sao_Paulo"
    history: timedelta | None = None

    @property
    def field(self) -> FieldOptions:
        """What the simulator is told. A replay has a pace of its own; a live field lives by the platform's clock."""
        speed = self.speed if self.replay is not None else None
        return FieldOptions(self.wells, self.seed, self.replay, speed, self.zone, self.history)


class Platform:
    """One run of the whole platform on one data folder."""

    def __init__(self, settings: Settings, options: Options, lock: DataLock, report: Report) -> None:
        """Nothing is started yet."""
        self._given, self._options, self._report = settings, options, report
        self._folder = settings.data_dir.resolve()
        self._supervisor = Supervisor(lock, report)
        self._chosen: dict[str, str | int] = {"data_dir": str(self._folder), "host": settings.host}
        self._phase = "starting"
        self._began_us = WallClock().micros()
        self._noted = 0.0
        self._figures = NOTHING
        self._progress = ""
        self._clock_file = ClockFile(self._folder)
        self._partitions_start = settings.partitions_start
        self._simulation = Simulation(self._folder, options.field)

    def run(self) -> None:
        """Start everything, watch it until somebody asks for the end, stop everything."""
        began = time.monotonic()
        try:
            self._start()
            self._phase = "ready"
            self._note(force=True)
            self._report.event(f"the platform is up after {time.monotonic() - began:.1f} s")
            threading.Thread(target=self._gather, daemon=True).start()
            self._supervisor.watch(self._note)
        finally:
            self._phase = "stopping"
            if self._supervisor.parts:
                self._report.event("stopping")
            self._supervisor.stop()

    def snapshot(self) -> dict[str, Any]:
        """Return what the live table and `state.json` show."""
        return {
            "pid": os.getpid(),
            "phase": self._phase,
            "since_us": self._began_us,
            "settings": self._chosen,
            "parts": [part.describe() for part in self._supervisor.parts],
            "progress": self._progress,
            "figures": self._figures,
        }

    def _start(self) -> None:
        given = self._given
        private_folder(self._folder)
        verify_given(given)
        if given.fleet_file is not None:
            check_file(given.fleet_file)  # a mistake is said before anything is started
        speed = self._options.speed if self._options.replay is None else None
        self._chosen["clock"] = self._clock_file.choose(given.clock, speed)
        now = parse_clock(str(self._chosen["clock"])).now()
        wished = self._options
        start = first_partition(self._folder, given, now, history=wished.history, replay=wished.replay)
        self._partitions_start = start
        self._chosen["partitions_start"] = start.isoformat()
        self._choose_ports()
        self._start_servers()
        self._choose_databases()
        code_server = self._start_code_server()  # it loads for seconds, while the database is made ready
        self._supervisor.check_stop()
        self._migrate()
        self._note(force=True)
        self._bring_in_the_field()
        ingest = self._add("ingest", processes.ingest, _INGEST)
        self._supervisor.wait_ready([*self._start_dagster(code_server), ingest])
        self._wait_for_code(str(self._chosen["dagster_url"]))

    def _choose_ports(self) -> None:
        """Settle every port before anything starts, so that one that is taken is said at once."""
        given, ports = self._given, Ports(self._folder, self._given.host)
        if given.dagster_url is None:
            self._chosen["dagster_port"] = ports.choose("dagster", given.dagster_port, _UI_PORT)
            self._code_port = ports.choose("code_server")
        names = ["metrics"]
        names += ["opcua", "modbus"] if given.fleet_file is None else []
        urls = {"postgres": given.database_url, "redis": given.redis_url, "mqtt": given.mqtt_url}
        names += [name for name, url in urls.items() if url is None]
        for name in names:
            self._chosen[f"{name}_port"] = ports.choose(name, getattr(given, f"{name}_port"))

    def _migrate(self) -> None:
        settings = self._settings()
        for migration in migrate(settings):
            self._report.event(f"migrated {migration}")
        with warm.connect(settings) as connection:
            database = next(part for part in self._supervisor.parts if part.name == "postgres")
            database.note = "; ".join(note for note in (str(warm.describe(connection)), database.note) if note)
        self._report.event(f"the database is {database.note}")

    def _start_servers(self) -> None:
        given, folder = self._given, self._folder
        logs = folder / "logs"

        def start(name: str, field: str, prepare: Callable[[int], Server]) -> Part:
            url: SecretStr | None = getattr(given, f"{field}_url")
            if url is not None:
                self._chosen[f"{field}_url"] = url.get_secret_value()
                return self._supervisor.add(Part(name, None, address=hide_secrets(url.get_secret_value())))
            port = int(self._chosen["postgres_port" if field == "database" else f"{field}_port"])
            part = self._supervisor.add(Part(name, lambda: prepare(port), stop_group=_SERVERS))
            assert part.server is not None  # noqa: S101 - it was just prepared
            self._chosen[f"{field}_url"] = part.server.url
            return part

        host = given.host
        started = [
            start(
                "postgres",
                "database",
                lambda port: postgres.prepare(folder / "postgres", host=host, port=port, logs=logs),
            ),
            start(
                "redis",
                "redis",
                lambda port: redis.prepare(
                    folder / "redis", host=host, port=port, logs=logs, maxmemory=given.redis_maxmemory
                ),
            ),
            start("broker", "mqtt", lambda port: broker.prepare(folder / "broker", host=host, port=port, logs=logs)),
        ]
        self._supervisor.wait_ready(started, 60)

    def _choose_databases(self) -> None:
        """Give Dagster a database of its own beside ours, unless a setting names one."""
        given = self._given.dagster_database_url
        if given is not None:
            self._chosen["dagster_database_url"] = given.get_secret_value()
            return
        if self._given.dagster_url is not None:  # one that is not ours has its own
            return
        with warm.connect(self._settings(), autocommit=True) as connection:
            url, made = make_beside(connection, str(self._chosen["database_url"]))
        self._chosen["dagster_database_url"] = url
        if made:
            self._report.event(f"created the database {url.rpartition('/')[2].partition('?')[0]}")

    def _bring_in_the_field(self) -> None:
        """Start the simulator, unless a fleet file of the user's own names real devices, and fill the registry."""
        given, simulation = self._given, self._simulation
        before = simulation.tenants()
        fleet_file = given.fleet_file
        if fleet_file is None:
            with warm.connect(self._settings(), autocommit=True) as connection:
                simulation.decide_history(connection)
            simulator = self._add("simulator", simulation.prepare, _FIELD)
            self._supervisor.wait_ready([simulator])
            simulator.address = simulation.address()
            fleet_file = simulation.fleet_file
        checked = check_file(fleet_file)
        for warning in checked.warnings:
            self._report.event(f"warning: {warning}")
        with warm.connect(self._settings()) as connection:
            outcome = apply(connection, checked.fleet)
            gone = simulation.left_behind(before, checked.fleet)
            if gone is not None:  # a field served here before, whose servers are no more
                apply(connection, gone)
                self._report.event(f"retired {', '.join(tenant.entry.name for tenant in gone.tenants)}")
        changed = sum(count for done in outcome.counts.values() for key, count in done.items() if key != "unchanged")
        counts = ", ".join(f"{count:,} {kind}" for kind, count in checked.fleet.counts().items())
        self._report.event(f"fleet of {counts} from {fleet_file}: {changed:,} changes")

    def _tell_history(self) -> None:
        """Say how the backfill goes; it runs in the simulator while everything else is up already."""
        before, self._progress = self._progress, self._simulation.history_left()
        if self._progress.rpartition(" ")[0] != before.rpartition(" ")[0]:  # another step, not a few percent more
            self._report.event(self._progress or "history: done")

    def _start_code_server(self) -> list[Part]:
        given = self._given
        if given.dagster_url is not None:
            self._chosen["dagster_url"] = given.dagster_url
            return [self._supervisor.add(Part("dagster", None, address=hide_secrets(given.dagster_url)))]
        self._chosen["dagster_url"] = f"http://{reach(given.host)}:{self._chosen['dagster_port']}"
        return [self._add("code-server", partial(processes.code_server, port=self._code_port), _DAGSTER)]

    def _start_dagster(self, code_server: list[Part]) -> list[Part]:
        """Start webserver and daemon; before the code server is there they would show it as broken."""
        if self._given.dagster_url is not None:
            return []
        self._supervisor.wait_ready(code_server)
        port = self._code_port
        return [
            self._add("dagster", partial(processes.webserver, code_port=port), _DAGSTER),
            self._add("daemon", partial(processes.daemon, code_port=port), _DAGSTER),
        ]

    def _add(self, name: str, process: Callable[[Environment], Server], group: int) -> Part:
        environment = Environment(self._folder, self._given.host, dict(self._chosen))
        return self._supervisor.add(Part(name, lambda: process(environment), stop_group=group))

    def _wait_for_code(self, url: str, timeout_s: float = 120) -> None:
        """Wait until the UI has loaded the code location; UnreachableError says why it cannot."""
        deadline = time.monotonic() + timeout_s
        while True:
            self._supervisor.check_stop()
            try:
                reason = dagster_health(url).location
                if not reason:
                    return
            except httpx.HTTPError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise UnreachableError("WELLOS_DAGSTER_URL", url, f"the code location does not load: {reason}")
            self._report.refresh()
            time.sleep(0.5)

    def _settings(self) -> Settings:
        chosen = {name: SecretStr(str(value)) if name in _SECRETS else value for name, value in self._chosen.items()}
        return self._given.model_copy(update={**chosen, "partitions_start": self._partitions_start})

    def _note(self, *, force: bool = False) -> None:
        """Write `state.json` and the clock's progress, once a second."""
        if force or time.monotonic() - self._noted > _NOTE_S:
            self._noted = time.monotonic()
            self._tell_history()
            self._clock_file.note(str(self._chosen["clock"]))
            write_state(self._folder, self.snapshot())

    def _gather(self) -> None:
        """Keep the figures fresh, beside the loop that must never wait for a database."""
        settings = self._settings()
        while self._phase == "ready":
            self._figures = gather(settings)
            time.sleep(_FIGURES_S)
