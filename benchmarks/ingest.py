"""Readings a second from intake to the committed row and Redis, beside ready-made binary COPY into the same table."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from psycopg import sql

from benchmarks.assembly import Assembly, Field, cpu_by_thread, register, spool_folder
from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.clock import WallClock, from_micros
from wellos.embedded.redis import running_redis
from wellos.logs import configure
from wellos.settings import load_settings
from wellos.storage.copy import COLUMNS, encode
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.registry import Connection
    from wellos.settings import Settings

DAY_US = 86_400_000_000
BATCH = 20_000
MOST_PENDING = 150_000


@dataclass(slots=True)
class _Run:
    """What one run of the pipeline took."""

    rows: int
    seconds: float
    cpu: dict[str, float]
    dropped: int = 0

    @property
    def rate(self) -> float:
        return self.rows / self.seconds


class _Cpu:
    """CPU seconds by thread of ours and by server process, since it was made."""

    def __init__(self, servers: dict[str, psutil.Process]) -> None:
        self._servers = servers
        self._before = self._now()

    def used(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for (number, name), value in self._now().items():  # a thread of an earlier part may be gone by now
            found[name] = found.get(name, 0.0) + value - self._before.get((number, name), 0.0)
        return found

    def _now(self) -> dict[tuple[int, str], float]:
        found = cpu_by_thread()
        for name, process in self._servers.items():
            times = process.cpu_times()
            found[process.pid, name] = times.user + times.system
        return found


def copy_limit(settings: Settings, field: Field, seconds: range) -> float:
    """Rows a second of COPY from bytes made beforehand, 20,000 rows a transaction."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    statement = sql.SQL("COPY readings ({}) FROM STDIN (FORMAT binary)").format(columns)
    spent, rows = 0.0, 0
    with connect(settings, autocommit=True) as connection:
        first = field.second(seconds.start)["time"][0]
        connection.execute("SELECT ensure_readings_partitions(%s::date[])", ([from_micros(int(first)).date()],))
        for number in seconds:
            readings = field.second(number)
            streams = [encode(readings[at : at + BATCH]) for at in range(0, len(readings), BATCH)]
            begun = time.perf_counter()
            for stream in streams:
                with connection.transaction(), connection.cursor() as cursor, cursor.copy(statement) as copy:
                    copy.write(stream)
            spent += time.perf_counter() - begun
            rows += len(readings)
    return rows / spent


async def pipeline(
    assembly: Assembly, field: Field, seconds: range, servers: dict[str, psutil.Process], settings: Settings
) -> _Run:
    """Push these seconds of the field through everything."""
    async with assembly.running():
        await assembly.push(field, range(seconds.start - 2, seconds.start))  # connects, makes the partition
        await assembly.finished()
        cpu, begun = _Cpu(servers | _backend(settings)), time.perf_counter()
        await assembly.push(field, seconds, MOST_PENDING)
        await assembly.finished()
        spent = time.perf_counter() - begun
        return _Run(field.rows * len(seconds), spent, cpu.used(), assembly.counters.hot["dropped"])


async def alone(assembly: Assembly, field: Field, seconds: range) -> tuple[float, float]:
    """Rows a second of the way in with nothing behind it, and of the way out with nothing in front of it."""
    rows = field.rows * len(seconds)
    async with assembly.running(draining=False):
        begun = time.perf_counter()
        await assembly.push(field, seconds)
        await assembly.intake.settled()
        taken = time.perf_counter() - begun
    async with assembly.running():
        begun = time.perf_counter()
        assembly.drain.wake()
        await assembly.drain.caught_up()
        return rows / taken, rows / (time.perf_counter() - begun)


def _server(pid: int) -> psutil.Process:
    """Return the Redis among a child and its children: the child may be the shell of an account of its own."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return next(process for process in family if process.name().startswith("redis"))


def _backend(settings: Settings) -> dict[str, psutil.Process]:
    """Return the server process that stores the readings, where it runs on this machine."""
    with connect(settings) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        ).fetchall()
    processes = [psutil.Process(pid) for (pid,) in found if psutil.pid_exists(pid)]
    return dict(zip(("PostgreSQL",), (item for item in processes if item.name().startswith("postgres")), strict=False))


class _Bench:
    """The servers, the field and the folder of one run of the benchmark."""

    def __init__(self, settings: Settings, connections: Sequence[Connection], folder: Path, seconds: int) -> None:
        self._settings, self._connections, self._folder = settings, connections, folder
        self._seconds = range(seconds)
        self._now = WallClock().micros() - (seconds + 60) * 1_000_000

    def field(self, days_ago: int) -> Field:
        """Each part of the benchmark has a day of its own, so that each fills an empty partition."""
        return Field(self._connections, self._now - days_ago * DAY_US)

    def limit(self, days_ago: int) -> float:
        return copy_limit(self._settings, self.field(days_ago), self._seconds)

    def pipeline(self, days_ago: int, servers: dict[str, psutil.Process], *, with_redis: bool) -> _Run:
        assembly = self._assembly(f"day{days_ago}", with_redis=with_redis)
        try:
            return asyncio.run(pipeline(assembly, self.field(days_ago), self._seconds, servers, self._settings))
        finally:
            assembly.close()

    def alone(self, days_ago: int) -> tuple[float, float]:
        assembly = self._assembly("alone", with_redis=False)
        try:
            return asyncio.run(alone(assembly, self.field(days_ago), self._seconds))
        finally:
            assembly.close()

    def _assembly(self, name: str, *, with_redis: bool) -> Assembly:
        settings = self._settings.model_copy(update={"data_dir": spool_folder(self._folder, name)})
        assembly = Assembly(settings, self._connections, with_redis=with_redis)
        if with_redis:
            assembly.sink.mark(
                filled=True
            )  # of a platform that has run before: an empty Redis would be filled meanwhile
        return assembly


def main(argv: list[str]) -> int:
    """Report the rate with everything, what the hot tier costs, each way alone, and who used the CPU."""
    options = parser("ingest", __doc__)
    add_database_option(options)
    options.add_argument("--wells", type=int, default=500, help="connections, of 50 tags each")
    options.add_argument("--seconds", type=int, default=60, help="of field time in each part, a reading a tag a second")
    chosen, machine = options.parse_args(argv), Machine.read()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(chosen.database_url))
        redis = stack.enter_context(running_redis(folder / "redis"))
        settings = load_settings(database_url=url, redis_url=redis.url, data_dir=folder, log_level="error")
        configure(settings)
        bench = _Bench(settings, register(settings, chosen.wells), folder, chosen.seconds)
        first = bench.limit(5)
        without = bench.pipeline(4, {}, with_redis=False)
        intake, drain = bench.alone(3)
        full = bench.pipeline(0, {"Redis": _server(redis.child.pid)}, with_redis=True)
        limit = (first + bench.limit(2)) / 2
        figures = {
            "readings/s": full.rate,
            "readings/s without Redis": without.rate,
            "share that the hot tier costs": 1 - full.rate / without.rate,
            "readings that Redis did not take": full.dropped,
            "readings/s, the way in alone": intake,
            "readings/s, the way out alone": drain,
            **{
                f"CPU seconds a million readings, {name}": 1e6 * spent / full.rows
                for name, spent in sorted(full.cpu.items())
                if spent > 0.02
            },
            "MB resident": psutil.Process().memory_info().rss / 1e6,
        }
        report = Report("ingest", figures, {"rows/s of COPY": limit}, full.rate / limit, (versions(url),))
    report.show(machine, as_json=chosen.json)
    return 0
