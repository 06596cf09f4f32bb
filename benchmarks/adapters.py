"""Readings a second and CPU that each adapter takes, from peers in other processes that send bytes made beforehand.

One connection, one core of the adapter's process, up to `emit`. The limit is a plain read of a socket over which the
same bytes come; for Modbus, whose requests go one at a time, the same requests and answers over a bare socket.
`--profile CASE` shows where the adapter's time goes instead.
"""

from __future__ import annotations

import asyncio
import cProfile
import json
import multiprocessing
import pstats
import resource
import socket
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from benchmarks import replay
from benchmarks.report import Machine, Report, parser
from streaming.adapters import adapter_class
from streaming.adapters.modbus_frame import Request
from streaming.adapters.mqtt_link import RECEIVE_MAXIMUM
from streaming.delivery import Delivery, Status
from wellos.clock import WallClock
from wellos.protocols.sparkplug_pb import DataType, Payload
from wellos.registry import Connection, Protocol, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TENANT = UUID(int=1)
_NODES = 1000
_REGISTERS = 5000
_WARM_S = 1.0
_LIMIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Case:
    """One adapter against one peer: `serve(port, *arguments)` runs in a process of its own."""

    name: str
    serve: Callable[..., None]
    arguments: tuple[object, ...]
    connect: Callable[[int], Connection]
    sample: bytes
    """Some of what the peer sends, and how many readings it is."""
    readings: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one case took."""

    rate: float
    cores: float
    """CPU seconds of this process a second."""
    peer_cores: float
    limit: float


def _connection(protocol: Protocol, config: dict[str, Any], addresses: list[str], interval_s: float) -> Connection:
    tags = tuple(
        Tag(number, TENANT, "W", f"t{number}", address, interval_s=interval_s)
        for number, address in enumerate(addresses, start=1)
    )
    return Connection(1, TENANT, "bench", protocol, protocol, config, tags)


def _opcua() -> Case:
    def connect(port: int) -> Connection:
        config = {"url": f"opc.tcp://127.0.0.1:{port}/", "publishing_interval_ms": 100.0}
        addresses = [f"nsu={replay.URI};i={number}" for number in range(1, _NODES + 1)]
        return _connection("opcua", config | {"anonymous": True, "security_mode": "None"}, addresses, 1)

    sample = replay.publish_response(1, list(range(_NODES)), 1, 1)
    return Case("opcua, 1000 nodes a message", replay.serve_opcua, (_NODES,), connect, sample, _NODES)


def _modbus() -> Case:
    def connect(port: int) -> Connection:
        addresses = [f"1:holding:{2 * number}:float32:CDAB" for number in range(_REGISTERS)]
        return _connection("modbus", {"host": "127.0.0.1", "port": port}, addresses, 0.01)

    sample = b"\0\0" + replay.modbus_answer(1, 3, 120)
    return Case("modbus, 60 float32 a read", replay.serve_modbus, (), connect, sample, 60)


def _plain(size: int) -> Case:
    values = {f"v{number}": 1.5 for number in range(size)}
    messages = [
        ("w", json.dumps({"time": f"2026-11-01T00:00:{second:02}Z", "values": values}).encode()) for second in range(60)
    ]

    def connect(port: int) -> Connection:
        return _connection(
            "mqtt", {"url": f"mqtt://127.0.0.1:{port}"}, [f"w#/values/v{number}" for number in range(size)], 1
        )

    sample = replay.mqtt_publish(*messages[0], 1)
    name = f"mqtt plain, {size} tag{'s' if size > 1 else ''} a message"
    return Case(name, replay.serve_mqtt, ((), messages, RECEIVE_MAXIMUM), connect, sample, size)


def _sparkplug(size: int) -> Case:
    now = WallClock().micros() // 1000
    birth = Payload(seq=0, timestamp=now)
    birth.metrics.add(name="bdSeq", datatype=DataType.INT64, long_value=0)
    for alias in range(1, size + 1):
        birth.metrics.add(name=f"m{alias}", alias=alias, datatype=DataType.DOUBLE, double_value=1.0, timestamp=now)
    messages = []
    for sequence in [*range(1, 256), 0]:
        data = Payload(seq=sequence, timestamp=now + sequence)
        for alias in range(1, size + 1):
            data.metrics.add(alias=alias, double_value=1.5, timestamp=now + sequence)
        messages.append(("spBv1.0/G/NDATA/N", data.SerializeToString()))

    def connect(port: int) -> Connection:
        config = {"url": f"mqtt://127.0.0.1:{port}", "payload": "sparkplug"}
        return _connection("mqtt", config, [f"G/N:m{number}" for number in range(1, size + 1)], 1)

    first = (("spBv1.0/G/NBIRTH/N", birth.SerializeToString()),)
    sample = replay.mqtt_publish(*messages[0], None)
    return Case(f"sparkplug, {size} metrics a message", replay.serve_mqtt, (first, messages, 0), connect, sample, size)


CASES: dict[str, Callable[[], Case]] = {
    "opcua": _opcua,
    "modbus": _modbus,
    "mqtt1": lambda: _plain(1),
    "mqtt25": lambda: _plain(25),
    "sparkplug": lambda: _sparkplug(25),
}


@contextmanager
def _peer(serve: Callable[..., None], *arguments: object) -> Iterator[tuple[int, int]]:
    """Run a peer; yields its port and its process."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = int(one.getsockname()[1])
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(port, *arguments), daemon=True)
    process.start()
    try:
        for _ in range(600):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield port, process.pid or 0
    finally:
        process.terminate()
        process.join()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _peer_cpu(process: int) -> float:
    # A peer works in bursts between two ticks of the kernel's clock, which its other figures count by.
    return int(Path(f"/proc/{process}/schedstat").read_text(encoding="ascii").split()[0]) / 1e9


async def _measure(connection: Connection, peer: int, seconds: float) -> tuple[float, float, float]:
    """Return readings a second, and the CPU seconds a second of this process and of the peer."""
    count = 0
    begun = asyncio.Event()

    async def emit(delivery: Delivery) -> None:
        nonlocal count
        count += len(delivery.readings)
        if len(delivery.readings):
            begun.set()
        if delivery.settle is not None:
            delivery.settle()

    task = asyncio.create_task(adapter_class(connection.protocol)(connection, WallClock(), Status()).run(emit))
    first_reading = asyncio.create_task(begun.wait())
    await asyncio.wait({task, first_reading}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    first_reading.cancel()
    if task.done():
        await task
    await asyncio.sleep(_WARM_S)
    first, began, cpu, peer_cpu = count, time.perf_counter(), _cpu(), _peer_cpu(peer)
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - began
    figures = (count - first) / elapsed, (_cpu() - cpu) / elapsed, (_peer_cpu(peer) - peer_cpu) / elapsed
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    if not figures[0]:
        raise RuntimeError(f"no readings came over {connection.protocol}")
    return figures


def _limit(case: Case) -> float:
    """Return the readings a second that their bytes would be, read off a socket and thrown away."""
    with _peer(replay.serve_bytes, case.sample) as (port, _), socket.create_connection(("127.0.0.1", port)) as source:
        buffer, size, began = bytearray(1 << 18), 0, time.perf_counter()
        while time.perf_counter() - began < _LIMIT_S:
            size += source.recv_into(buffer)
        return size / (time.perf_counter() - began) / len(case.sample) * case.readings


def _run(case: Case, seconds: float) -> Outcome:
    with _peer(case.serve, *case.arguments) as (port, process):
        connection = case.connect(port)
        rate, cores, peer_cores = asyncio.run(_measure(connection, process, seconds))
        if connection.protocol == "modbus":
            request = Request(1, 3, 0, 2 * case.readings).tcp(1)
            limit = replay.ask_modbus(port, request, len(case.sample), _LIMIT_S) * case.readings
        else:
            limit = _limit(case)
    return Outcome(rate, cores, peer_cores, limit)


def _profile(case: Case, seconds: float) -> None:
    with _peer(case.serve, *case.arguments) as (port, process), cProfile.Profile() as profile:
        asyncio.run(_measure(case.connect(port), process, seconds))
    pstats.Stats(profile).sort_stats("tottime").print_stats(25)


def main(argv: list[str]) -> int:
    """Run the cases and report; a peer near 1 core limited its case, and is to be told apart from the adapter."""
    options = parser("adapters", __doc__)
    options.add_argument("--seconds", type=float, default=5, help="of each case (default 5)")
    options.add_argument("--case", action="append", choices=list(CASES), help="only this one; may be repeated")
    options.add_argument("--profile", choices=list(CASES), help="profile this case and print its costliest functions")
    chosen, machine = options.parse_args(argv), Machine.read()
    if chosen.profile:
        _profile(CASES[chosen.profile](), chosen.seconds)
        return 0
    figures, limits, ratios = dict[str, float](), dict[str, float](), dict[str, float]()
    for name in chosen.case or CASES:
        case = CASES[name]()
        found = _run(case, chosen.seconds)
        figures |= {
            f"{case.name}: readings/s": found.rate,
            f"{case.name}: CPU s a million readings": found.cores / found.rate * 1e6,
            f"{case.name}: cores of the peer": found.peer_cores,
        }
        limits[f"{case.name}: the same bytes off a bare socket, readings/s"] = found.limit
        ratios[case.name] = found.rate / found.limit
    figures |= {f"{name}: share of its limit": ratio for name, ratio in ratios.items()}
    Report("adapters", figures, limits, min(ratios.values())).show(machine, as_json=chosen.json)
    return 0
