"""Milliseconds from a device's write to a Redis subscriber and to the committed row, through the real ingest process.

Devices, ingest and subscriber are processes of their own; every value is the moment of its writing. The committed row
is seen by asking for the newest readings of 20 tags again and again: what an answer shows first was committed since the
one before, so the figure is too high by up to the time between two answers, which is reported.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import redis

from benchmarks.latency_peers import A_MESSAGE, HERTZ, URI, serve_modbus, serve_mqtt, serve_opcua
from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
from wellos.clock import from_micros
from wellos.embedded.broker import running_broker
from wellos.embedded.redis import running_redis
from wellos.embedded.server import free_port
from wellos.fleet.apply import apply
from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TagEntry, TenantEntry, WellEntry
from wellos.readings import pack
from wellos.registry import Protocol
from wellos.settings import load_settings
from wellos.storage import hot
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection as Pipe

    import psycopg
    from numpy.typing import NDArray

    from wellos.settings import Settings

TENANT = "latency"
RATES = (1_000, 10_000, 50_000)
_PEERS = {"mqtt": serve_mqtt, "opcua": serve_opcua, "modbus": serve_modbus}
_A_CONNECTION = 500
_MARKERS = 20
_START_S = 30
_WARM_UP_S = 1.5
_LOOK_BACK_US = 1_000_000
"""Rows may be committed in another order than that of their times, by less than this."""
_NEWEST = "SELECT value FROM readings WHERE tag_id = ANY(%s) AND time > %s AND value > %s"


def fleet(protocol: Protocol, port: int, tags: int) -> Fleet:
    """Return the registry of one case: connections of 500 tags each."""
    well = WellEntry(name=f"{protocol}-{tags}", lift_type="esp")
    configs: dict[Protocol, dict[str, Any]] = {
        "mqtt": {"url": f"mqtt://127.0.0.1:{port}"},
        "opcua": {
            "url": f"opc.tcp://127.0.0.1:{port}/",
            "publishing_interval_ms": 10.0,
            "anonymous": True,
            "security_mode": "None",
        },
        "modbus": {"host": "127.0.0.1", "port": port},
    }
    connections = []
    for first in range(0, tags, _A_CONNECTION):
        entries = tuple(_tag(protocol, well.name, number) for number in range(first, min(tags, first + _A_CONNECTION)))
        named = ConnectionEntry(name=f"{well.name}-{first}", protocol=protocol, config=configs[protocol])
        connections.append(FleetConnection(named, entries))
    return Fleet((FleetTenant(TenantEntry(slug=TENANT, name="Latency"), (well,), tuple(connections)),))


def _tag(protocol: Protocol, well: str, number: int) -> TagEntry:
    address = {
        "mqtt": f"w{number // A_MESSAGE}#/values/v{number % A_MESSAGE}",
        "opcua": f"nsu={URI};i={number + 1}",
        "modbus": f"1:holding:{4 * number}:float64:ABCD",
    }[protocol]
    return TagEntry(name=f"t{number}", well=well, address=address, interval_s=1 / HERTZ)


def _subscribe(url: str, pipe: Pipe) -> None:
    """Keep the age of every reading that is published; on `begin` forget them, on `end` send them."""
    ages: list[NDArray[np.float64]] = []
    with redis.Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as subscriber:
        subscriber.subscribe(hot.channel(TENANT))
        pipe.send("ready")
        while True:
            message = subscriber.get_message(timeout=0.05)
            if message is not None:
                now = time.time_ns() // 1000
                ages.append(now - hot.decode_message(message["data"]).readings["value"])
            if pipe.poll():
                if pipe.recv() == "end":
                    pipe.send(np.concatenate(ages) if ages else np.zeros(0))
                ages.clear()


class _Rows:
    """Asks for newly committed rows of some tags."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        found = connection.execute(
            "SELECT tag_id FROM tags t JOIN scada_connections c USING (connection_id) WHERE t.retired_at IS NULL"
        )
        tags = [tag for (tag,) in found]
        self._markers = tags[:: max(1, len(tags) // _MARKERS)]
        self.newest = 0.0

    def watch(self, seconds: float) -> tuple[NDArray[np.float64], float]:
        """Return the ages of the rows at their first sight, and the milliseconds between two answers."""
        ages, polls, seen = [], 0, set[float]()
        self.ask(seen)
        begun = time.perf_counter()
        while (spent := time.perf_counter() - begun) < seconds:
            before = len(seen)
            new = self.ask(seen)
            now = time.time_ns() // 1000
            ages += [now - value for value in new]
            polls += 1
            if len(seen) == before:
                time.sleep(0.001)
        return np.array(ages), 1000 * spent / max(polls, 1)

    def ask(self, seen: set[float]) -> list[float]:
        """Return what was not seen yet, and note it."""
        # a value is a moment; several tags of one message have the same, and count once
        since = int(max(self.newest, (time.time() - 5) * 1e6)) - _LOOK_BACK_US
        found = self._connection.execute(_NEWEST, (self._markers, from_micros(since), since)).fetchall()
        new = [value for (value,) in found if value not in seen]
        seen.update(new)
        self.newest = max([self.newest, *new])
        return new


@contextmanager
def _ingest(settings: Settings) -> Iterator[None]:
    """Run the ingest process."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    env = {name: value for name, value in os.environ.items() if not name.startswith("WELLOS_")} | {
        "WELLOS_DATA_DIR": str(settings.data_dir),
        "WELLOS_DATABASE_URL": settings.database_url.get_secret_value(),
        "WELLOS_REDIS_URL": settings.redis_url.get_secret_value(),
        "WELLOS_LOG_LEVEL": "warning",
    }
    process = subprocess.Popen([sys.executable, "-m", "streaming"], env=env, stdout=subprocess.DEVNULL)
    try:
        _until((settings.data_dir / "ingest.json").exists, "ingest did not start")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(15)


@contextmanager
def _process(work: Any, *arguments: object) -> Iterator[None]:  # noqa: ANN401 - any of the peers
    process = multiprocessing.get_context("spawn").Process(target=work, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.terminate()
        process.join()


def _until(come: Any, otherwise: str) -> None:  # noqa: ANN401 - any question
    deadline = time.monotonic() + _START_S
    while not come():
        if time.monotonic() > deadline:
            raise SystemExit(otherwise)
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def _percentiles(name: str, ages_us: NDArray[np.float64]) -> dict[str, float]:
    ages = ages_us[np.isfinite(ages_us)] / 1000
    found = np.percentile(ages, (50, 95, 99)) if len(ages) else np.full(3, np.nan)
    return {f"{name} p{rank}, ms": float(value) for rank, value in zip((50, 95, 99), found, strict=True)}


class _Bench:
    """The running platform, and the subscriber."""

    def __init__(self, settings: Settings, subscriber: Pipe, broker_port: int) -> None:
        self._settings, self._subscriber, self._broker_port = settings, subscriber, broker_port

    def case(self, protocol: Protocol, rate: int, seconds: float) -> dict[str, float]:
        """Run one device and measure."""
        tags = rate // HERTZ
        port = self._broker_port if protocol == "mqtt" else free_port("127.0.0.1")
        with (
            _process(_PEERS[protocol], port, tags),
            connect(self._settings, autocommit=True) as connection,
        ):
            _until(lambda: _listens(port), f"the {protocol} device did not start")
            apply(connection, fleet(protocol, port, tags))
            rows = _Rows(connection)
            _until(lambda: rows.ask(set()), f"no reading came over {protocol}")
            time.sleep(_WARM_UP_S)
            self._subscriber.send("begin")
            committed, between = rows.watch(seconds)
            self._subscriber.send("end")
            published: NDArray[np.float64] = self._subscriber.recv()
        name = f"{protocol} {rate}/s"
        return {
            f"{name}: readings/s seen": len(published) / seconds,
            **_percentiles(f"{name}: subscriber", published),
            **_percentiles(f"{name}: committed", committed),
            f"{name}: between two answers, ms": between,
        }

    def limit(self) -> dict[str, float]:
        """A bare message to the subscriber, and a bare commit of one row."""
        self._subscriber.send("begin")
        with hot.connect(self._settings) as client:
            for number in range(200):
                batch = pack([0], time.time_ns() // 1000, 1, 2)
                client.publish(hot.channel(TENANT), hot.encode_message(1, number, batch))
                time.sleep(0.002)
        time.sleep(0.2)
        self._subscriber.send("end")
        ages: NDArray[np.float64] = self._subscriber.recv()
        spent = []
        with connect(self._settings, autocommit=True) as connection:
            connection.execute("CREATE TABLE bare (value double precision)")
            for _ in range(200):
                begun = time.perf_counter()
                connection.execute("INSERT INTO bare VALUES (1)")
                spent.append(1e6 * (time.perf_counter() - begun))
        return _percentiles("a bare message", ages) | _percentiles("a bare commit", np.array(spent))


def _cases(text: str) -> list[tuple[Protocol, int]]:
    cases: list[tuple[Protocol, int]] = []
    for part in text.split(","):
        name, _, rate = part.partition(":")
        rates = (int(rate),) if rate else RATES
        cases += [(known, number) for known in get_args(Protocol) for number in rates if known == name]
    return cases


def main(argv: Sequence[str]) -> int:
    """Report percentiles of each case."""
    options = parser("latency", __doc__)
    add_database_option(options)
    options.add_argument(
        "--cases", default="mqtt,opcua,modbus", help="PROTOCOL[:READINGS_A_SECOND],... (default: all three, each rate)"
    )
    options.add_argument("--seconds", type=float, default=5, help="of each case")
    chosen, machine = options.parse_args(argv), Machine.read()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(database(chosen.database_url))
        server = stack.enter_context(running_redis(folder / "redis"))
        broker = stack.enter_context(running_broker(folder / "mqtt"))
        settings = load_settings(database_url=url, redis_url=server.url, data_dir=folder / "data")
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        stack.enter_context(_process(_subscribe, server.url, theirs))
        ours.recv()
        stack.enter_context(_ingest(settings))
        bench, figures = _Bench(settings, ours, broker.port), dict[str, float]()
        limit = bench.limit()
        for protocol, rate in _cases(chosen.cases):
            figures |= bench.case(protocol, rate, chosen.seconds)
        version = versions(url)
    main_case = figures.get("mqtt 10000/s: subscriber p50, ms")
    ratio = limit["a bare message p50, ms"] / main_case if main_case else None
    Report("latency", figures, limit, ratio, (version,)).show(machine, as_json=chosen.json)
    return 0
