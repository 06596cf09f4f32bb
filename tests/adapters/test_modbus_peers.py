"""Our client against a Modbus server that we did not write: modbus-serial (npm), over TCP and as RTU behind TCP.

Runs where node is there and `WELLOS_NODE_MODULES` names a `node_modules` folder with modbus-serial (and serialport).
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tty
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.adapters.test_modbus_adapter import connection_to
from tests.fix_adapters import Collector, free_port, running
from tests.fix_modbus import RawPeer, raw_peer
from wellos.quality import MODBUS_NO_REPLY, Quality
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCRIPT = Path(__file__).parents[1] / "peers" / "modbus_server.mjs"
MODULES = Path(os.environ.get("WELLOS_NODE_MODULES", ""))
ADDRESSES = [
    "1:holding:7:uint16",
    "2:holding:499:uint16",
    "1:input:3:uint32",
    "1:coil:5:bool",
    "1:discrete:5:bool",
    "1:holding:1.0:bool",
    "1:holding:498:uint32",
    "1:holding:501:uint16",
    "9:holding:0:uint16",
]
GOOD = [1007.0, 2499.0, 1004.0 * 65536 + 1005, 1.0, 0.0, 1.0, 1498.0 * 65536 + 1499]


def need(package: str) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if "WELLOS_NODE_MODULES" not in os.environ:
        pytest.skip("WELLOS_NODE_MODULES does not name a node_modules folder")
    if not (MODULES / package).is_dir():
        pytest.skip(f"{package} is not in {MODULES}")


@asynccontextmanager
async def server(*arguments: str) -> AsyncIterator[list[str]]:
    """Run the server; yields what it has printed, which goes on growing."""
    process = await asyncio.create_subprocess_exec("node", str(SCRIPT), *arguments, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    printed: list[str] = []

    async def keep(output: asyncio.StreamReader) -> None:
        while line := await output.readline():
            printed.append(line.decode().strip())

    reading = asyncio.create_task(keep(process.stdout))
    try:
        async with asyncio.timeout(90):
            await until(lambda: "ready" in printed, 0.02)
        yield printed
    finally:
        process.terminate()
        await process.wait()
        await reading


async def poll(port: int, framing: str) -> Collector:
    config = {"timeout_s": 2, "units": {"9": {"timeout_s": 0.15, "retries": 0}}, "framing": framing}
    collector = Collector()
    async with running(connection_to(port, *ADDRESSES, interval_s=0.3, **config), collector):
        await collector.until(lambda: len(collector.deliveries) >= 3)
    return collector


def check(collector: Collector, printed: list[str]) -> None:
    for number, value in enumerate(GOOD, start=100):
        assert set(collector.values(number)) == {value}
    assert set(collector.of(107)["status"].tolist()) == {2}
    assert set(collector.of(108)["status"].tolist()) == {MODBUS_NO_REPLY}
    bad = collector.readings["quality"] == Quality.BAD
    assert (bad == np.isin(collector.readings["tag_id"], [107, 108])).all()
    assert {line for line in printed if line.startswith("asked")} == {f"asked {code}" for code in (1, 2, 3, 4)}


async def test_modbus_serial_over_tcp() -> None:
    need("modbus-serial")
    port = free_port()
    async with server("tcp", str(port)) as printed:
        collector = await poll(port, "tcp")
    check(collector, printed)


async def test_modbus_serial_over_rtu_behind_tcp() -> None:
    """What a serial server does: the bytes of a TCP connection go to the line and back."""
    need("modbus-serial")
    need("serialport")
    ours, theirs = os.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    os.set_blocking(ours, False)

    def to_line(_peer: RawPeer, _transport: asyncio.Transport, request: bytes) -> None:
        os.write(ours, request)

    async with raw_peer(to_line) as peer:

        def from_line() -> None:
            with suppress(BlockingIOError):
                data = os.read(ours, 4096)
                for transport in peer.open:
                    transport.write(data)

        asyncio.get_running_loop().add_reader(ours, from_line)
        try:
            async with server("serial", os.ttyname(theirs)) as printed:
                collector = await poll(peer.port, "rtu")
        finally:
            asyncio.get_running_loop().remove_reader(ours)
            os.close(ours)
            os.close(theirs)
    check(collector, printed)
