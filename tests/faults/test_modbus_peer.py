"""Fault 23 for Modbus: peers that are half open, drip, or reset in the middle of a frame, under the real supervisor."""

from __future__ import annotations

import asyncio
import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import streaming.supervise
from streaming.counters import Counters
from streaming.supervise import Supervisor
from tests.adapters.test_modbus_adapter import connection_to
from tests.fix_adapters import Collector
from tests.fix_modbus import RawPeer, raw_peer, registers_rtu, registers_tcp
from wellos.clock import WallClock
from wellos.quality import MODBUS_NO_REPLY, Quality

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.fault


def half_open(_transport: asyncio.Transport, _answer: bytes) -> None:
    """Accept, and never say a word."""


def drip(transport: asyncio.Transport, answer: bytes) -> None:
    """Send a byte now and then: each comes well within the time-out, the whole does not."""
    for place in range(len(answer)):
        asyncio.get_running_loop().call_later(0.1 * (place + 1), transport.write, answer[place : place + 1])


def reset(transport: asyncio.Transport, answer: bytes) -> None:
    """Send half the answer, then a reset."""
    transport.write(answer[: len(answer) // 2])
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asyncio.get_running_loop().call_later(0.02, transport.abort)


def hang_up(transport: asyncio.Transport, answer: bytes) -> None:
    """Send half the answer and end in good order."""
    transport.write(answer[: len(answer) // 2])
    transport.close()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("framing", ["tcp", "rtu"])
@pytest.mark.parametrize("fault", [half_open, drip, reset, hang_up])
async def test_a_faulty_peer_is_left_and_found_again(
    fault: Callable[[asyncio.Transport, bytes], None], framing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming.supervise, "_SHORTEST_PAUSE_S", 0.05)
    monkeypatch.setattr(streaming.supervise, "_LONGEST_PAUSE_S", 0.1)
    frame = registers_rtu if framing == "rtu" else registers_tcp
    faulty, faults = False, 0

    def answer(peer: RawPeer, transport: asyncio.Transport, request: bytes) -> None:
        nonlocal faults
        mine = frame(request, len(peer.requests))
        if faulty:
            faults += 1
            fault(transport, mine)
        else:
            transport.write(mine)

    collector, counters = Collector(), Counters()
    async with raw_peer(answer) as peer:
        connection = connection_to(
            *(peer.port, "1:holding:0:uint16", "1:holding:200:uint16"),
            framing=framing,
            timeout_s=0.2,
            retries=0,
        )
        tasks, files = len(asyncio.all_tasks()), open_files()
        supervisor = Supervisor(collector.emit, WallClock(), counters, {})
        await supervisor.apply([connection])
        await collector.until(lambda: len(collector.readings) >= 6)
        heard, faulty = supervisor.status[3].heard_us, True
        await collector.until(lambda: counters.restarts["permian", "test"] >= 3)
        assert supervisor.status[3].heard_us - heard < 5_000_000
        heard, faulty = supervisor.status[3].heard_us, False
        seen = len(collector.readings)
        await collector.until(lambda: (collector.readings[seen:]["status"] == 0).sum() >= 4)
        assert len(asyncio.all_tasks()) == tasks + 1, "the one connection, whatever was tried"
        assert open_files() <= files + 2, "one connection: our end and the peer's"
        await supervisor.stop()
        assert len(asyncio.all_tasks()) == tasks
    assert faults >= 3
    readings = collector.readings
    assert ((readings["status"] == 0) | (readings["status"] == MODBUS_NO_REPLY)).all()
    assert (np.isnan(readings["value"]) == (readings["quality"] == Quality.BAD)).all()
    outage = [gap for gap in collector.gaps if gap.reason == "disconnected"]
    good = readings["time"][readings["status"] == 0]
    assert [gap.start_us for gap in outage] == [heard], "one gap, from the last answer"
    assert not ((good > outage[0].start_us) & (good < outage[0].end_us)).any()
    assert (good > outage[0].end_us - 1).sum() >= 4, "probe readings land afterwards"
    values = readings["value"][readings["status"] == 0]
    assert len(set(values.tolist())) == len(values), "no answer is used twice"
