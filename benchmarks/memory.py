"""Resident memory of ingest with everything running and after an hour without its database, and how fast it drains."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from pydantic import SecretStr

import streaming.pipeline
from benchmarks.assembly import Assembly, Field, register, spool_folder
from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from streaming.adapters import adapter_class
from wellos.embedded.redis import running_redis
from wellos.embedded.server import free_port
from wellos.logs import configure
from wellos.registry import load_connections
from wellos.settings import Settings, load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection as Pipe

    from wellos.registry import Connection

RATE = 10_000
"""Readings a second during the outage."""
_DRAINED = 4_000_000
"""Drained again, at most, to know how fast that goes."""


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def _now_mb() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def _imports() -> None:
    """Load what the ingest process loads, adapters included."""
    assert streaming.pipeline.__name__ in sys.modules
    for protocol in ("opcua", "modbus", "mqtt"):
        adapter_class(protocol)


async def _everything(settings: Settings, connections: Sequence[Connection], seconds: float) -> dict[str, float]:
    """Run all parts at the rate of the outage, as a field sends: each connection once a second, spread over it."""
    base, assembly = _now_mb(), Assembly(settings, connections, with_redis=True)
    field = Field(connections, assembly.clock.micros() - 3_600_000_000)
    async with assembly.running():
        begun, sent, number = time.perf_counter(), 0, 0
        while (spent := time.perf_counter() - begun) < seconds:
            for delivery in field.deliveries(number, assembly.clock.micros()):
                await assembly.intake.emit(delivery)
                sent += len(delivery.readings)
                if sent > RATE * (time.perf_counter() - begun):
                    await asyncio.sleep(0.005)
            number += 1
        await assembly.finished()
        at_rest = _now_mb()
    assembly.close()
    return {
        "MB resident of the imports alone": base,
        "MB resident, all parts": at_rest,
        "MB resident, all parts, at most": _peak_mb(),
        "readings/s meanwhile": sent / spent,
    }


async def _outage(settings: Settings, connections: Sequence[Connection], readings: int) -> dict[str, float]:
    """Take in what an outage brings, as fast as it goes."""
    address = f"postgresql://nobody@127.0.0.1:{free_port('127.0.0.1')}/none"
    away = settings.model_copy(update={"database_url": SecretStr(address)})
    assembly = Assembly(away, connections, with_redis=True)
    per_second = sum(len(item.tags) for item in connections)
    seconds = -(-readings // per_second)
    field = Field(connections, assembly.clock.micros() - (seconds + 60) * 1_000_000)
    async with assembly.running():
        begun = time.perf_counter()
        await assembly.push(field, range(seconds))
        await assembly.intake.settled()
        spent = time.perf_counter() - begun
    pending = assembly.journal.pending_rows
    assert pending == seconds * per_second
    assembly.close()
    return {
        "readings taken in without a database": pending,
        "that many hours at 10,000 readings/s": pending / RATE / 3600,
        "readings/s into the spool": pending / spent,
        "MB resident after that": _now_mb(),
        "MB resident after that, at most": _peak_mb(),
    }


async def _drain(settings: Settings, connections: Sequence[Connection], most: int) -> dict[str, float]:
    """Start again on that spool, with the database."""
    assembly = Assembly(settings, connections, with_redis=True)
    pending = assembly.journal.pending_rows
    wanted = min(pending, most)
    async with assembly.running():
        assembly.drain.wake()
        begun = time.perf_counter()
        while assembly.journal.pending_rows > pending - wanted:  # noqa: ASYNC110 - it is looked at, not told
            await asyncio.sleep(0.02)
        drained = (pending - assembly.journal.pending_rows) / (time.perf_counter() - begun)
    assembly.close()
    return {"readings/s drained": drained, "MB resident while it drains, at most": _peak_mb()}


def _child(pipe: Pipe, work: Callable[..., object], settings: Settings, amount: float) -> None:
    _imports()
    configure(settings)
    with connect(settings) as connection:
        connections = load_connections(connection)
    pipe.send(asyncio.run(work(settings, connections, amount)))  # type: ignore[arg-type]


def _in_a_process_of_its_own(work: Callable[..., object], settings: Settings, amount: float) -> dict[str, float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, work, settings, amount))
    process.start()
    theirs.close()
    try:
        found: dict[str, float] = ours.recv()
    finally:
        process.join()
    return found


def main(argv: list[str]) -> int:
    """Report resident memory in megabytes, and the rate of the drain."""
    options = parser("memory", __doc__)
    add_database_option(options)
    options.add_argument("--wells", type=int, default=500, help="connections, of 50 tags each")
    options.add_argument("--seconds", type=float, default=10, help="with everything running, at 10,000 readings/s")
    options.add_argument(
        "--readings", type=int, default=3600 * RATE, help="taken in without a database: an hour at 10,000/s"
    )
    chosen, machine = options.parse_args(argv), Machine.read()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(chosen.database_url))
        redis = stack.enter_context(running_redis(folder / "redis"))
        settings = load_settings(
            database_url=url, redis_url=redis.url, data_dir=spool_folder(folder, "running"), log_level="error"
        )
        register(settings, chosen.wells)
        figures = _in_a_process_of_its_own(_everything, settings, chosen.seconds)
        settings = settings.model_copy(update={"data_dir": spool_folder(folder, "outage")})
        figures |= _in_a_process_of_its_own(_outage, settings, chosen.readings)
        figures |= _in_a_process_of_its_own(_drain, settings, _DRAINED)
        server = versions(url)
    base = figures.pop("MB resident of the imports alone")
    ratio = figures["readings/s drained"] / RATE
    limit = {"MB resident of the imports alone": base, "readings/s of the outage": float(RATE)}
    Report("memory", figures, limit, ratio, (server,)).show(machine, as_json=chosen.json)
    return 0
