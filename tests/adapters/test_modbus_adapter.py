from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import SimData, SimDevice

from streaming.delivery import ConnectionLost, Delivery, Status
from tests.clocks import HeldClock
from tests.fix_adapters import Collector, make_connection, make_tag, running
from wellos.clock import WallClock
from wellos.quality import MODBUS_NO_REPLY, Quality
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from wellos.registry import Connection


INTERVAL_S = 0.02
INTERVAL_US = 20_000


class Device:
    """Registers and bits behind a real server, with faults to plant."""

    def __init__(self) -> None:
        self.port = 0
        self.stop: Callable[[], Awaitable[None]]
        self.registers = list(range(1000))
        self.bits = [place % 2 == 0 for place in range(1000)]
        self.illegal: set[int] = set()
        self.delay_s = 0.0
        self.codes: list[ExcCodes] = []
        self.mute: set[int] = set()
        self.requests: list[tuple[int, int, int, int]] = []

    def device_ids(self) -> list[int]:
        return [1, 2, 3]

    async def async_getValues(  # noqa: N802 - the library's name
        self, device_id: int, func_code: int, address: int, count: int = 1
    ) -> Any:  # noqa: ANN401 - registers, bits or an exception code
        self.requests.append((device_id, func_code, address, count))
        await asyncio.sleep(self.delay_s)
        if device_id in self.mute:
            await asyncio.sleep(3600)
        if self.codes:
            return self.codes.pop(0)
        if self.illegal & set(range(address, address + count)):
            return ExcCodes.ILLEGAL_ADDRESS
        source: list[Any] = self.bits if func_code <= 2 else self.registers
        return source[address : address + count]

    async def async_setValues(self, *_arguments: object) -> ExcCodes:  # noqa: N802 - the library's name
        raise AssertionError("an adapter wrote")


@asynccontextmanager
async def device(port: int = 0) -> AsyncIterator[Device]:
    one = Device()
    server = ModbusTcpServer(SimDevice(0, simdata=[SimData(0)]), address=("127.0.0.1", port))
    server.context = one  # type: ignore[assignment]
    shutdown: Any = server.shutdown
    one.stop = shutdown
    await server.serve_forever(background=True)
    transport: Any = server.transport
    one.port = transport.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        await one.stop()


def connection_to(port: int, *addresses: str, interval_s: float = 0.1, **config: Any) -> Connection:  # noqa: ANN401
    tags = [make_tag(100 + index, address, interval_s=interval_s) for index, address in enumerate(addresses)]
    return make_connection(
        "modbus", {"host": "127.0.0.1", "port": port, "timeout_s": 30.0, "retries": 1} | config, tags
    )


def quick(one: Device) -> Connection:
    """Return a connection of one tag, for a clock that is moved by hand."""
    return connection_to(one.port, "1:holding:5:uint16", interval_s=INTERVAL_S)


async def test_every_table_type_scale_and_unit() -> None:
    async with device() as one:
        one.registers[10:12] = [0xE979, 0x42F6]
        one.registers[20] = 0xFFFF
        tags = [
            make_tag(1, "1:holding:10:float32:CDAB", interval_s=0.1),
            make_tag(2, "1:input:20:int16", interval_s=0.1, scale=0.5, offset=10.0),
            make_tag(3, "2:coil:4:bool", interval_s=0.1),
            make_tag(4, "3:discrete:5:bool", interval_s=0.1),
        ]
        connection = make_connection("modbus", {"host": "127.0.0.1", "port": one.port}, tags)
        collector, before = Collector(), WallClock().micros()
        async with running(connection, collector):
            await collector.until(lambda: len(collector.readings) >= 12)
    first = collector.readings[:4]
    values = dict(zip(first["tag_id"].tolist(), first["value"].tolist(), strict=True))
    assert np.float32(values[1]) == np.float32(123.456)
    assert {number: values[number] for number in (2, 3, 4)} == {2: 9.5, 3: 1.0, 4: 0.0}
    assert (collector.readings["quality"] == Quality.GOOD).all()
    assert (first["time"] >= before).all()
    assert sorted(function for _, function, _, _ in one.requests[:4]) == [1, 2, 3, 4]


async def polls(collector: Collector, clock: HeldClock, number: int) -> None:
    """Let the clock pass so many due times, each when the one before has been polled."""
    for _ in range(number):
        seen = len(collector.deliveries)
        clock.advance(INTERVAL_S)
        await collector.until(lambda seen=seen: len(collector.deliveries) > seen)  # type: ignore[misc]


async def test_one_request_a_poll_and_one_poll_an_interval() -> None:
    clock, collector = HeldClock(), Collector()
    begin = clock.micros()
    async with device() as one:
        addresses = [f"1:holding:{place}:uint16" for place in range(0, 100, 2)]
        async with running(connection_to(one.port, *addresses, interval_s=INTERVAL_S), collector, clock=clock):
            await collector.until(lambda: len(collector.deliveries) == 1)
            await polls(collector, clock, 7)
    assert one.requests == [(1, 3, 0, 99)] * 8
    due = (collector.of(100)["time"] - begin) / (INTERVAL_S * 1e6)
    assert due.tolist() == list(range(8))


async def test_one_bad_register_is_named_and_the_rest_arrives() -> None:
    async with device() as one:
        one.illegal = {30, 31}
        addresses = [f"1:holding:{place}:uint32" for place in range(20, 40, 2)]
        collector = Collector()
        async with running(connection_to(one.port, *addresses), collector):
            await collector.until(lambda: len(collector.deliveries) >= 3)
            learned = len(one.requests)
            seen = len(collector.deliveries)
            await collector.until(lambda: len(collector.deliveries) >= seen + 3)
            polls = len(collector.deliveries) - seen
            assert len(one.requests) - learned <= 6 * (polls + 1), "what was learned is kept"
    bad = collector.of(105)
    assert np.isnan(bad["value"]).all()
    assert set(bad["status"].tolist()) == {2}
    assert set(bad["quality"].tolist()) == {Quality.BAD}
    good = collector.readings[collector.readings["tag_id"] != 105]
    assert (good["quality"] == Quality.GOOD).all()
    assert collector.values(100)[0] == 20 * 65536 + 21
    for delivery in collector.deliveries:
        assert sorted(delivery.readings["tag_id"].tolist()) == list(range(100, 110)), "each tag once a poll"


async def test_an_unused_register_between_two_tags_that_cannot_be_read() -> None:
    async with device() as one:
        one.illegal = {25}
        collector = Collector()
        async with running(connection_to(one.port, "1:holding:24:uint16", "1:holding:26:uint16"), collector):
            await collector.until(lambda: len(collector.deliveries) >= 2)
    assert collector.values(100)[0] == 24.0
    assert collector.values(101)[0] == 26.0


async def test_a_busy_device_is_asked_again() -> None:
    async with device() as one:
        one.codes = [ExcCodes.DEVICE_BUSY, ExcCodes.ACKNOWLEDGE]
        collector = Collector()
        async with running(connection_to(one.port, "1:holding:5:uint16", retries=3), collector):
            await collector.until(lambda: len(collector.readings) >= 1)
    assert collector.values(100)[0] == 5.0
    assert collector.readings["status"][0] == 0


async def test_a_device_failure_is_bad_for_the_poll_only() -> None:
    async with device() as one:
        one.codes = [ExcCodes.DEVICE_FAILURE]
        collector = Collector()
        async with running(connection_to(one.port, "1:holding:5:uint16", "1:holding:6:uint16"), collector):
            await collector.until(lambda: len(collector.deliveries) >= 2)
    first, second = (delivery.readings for delivery in collector.deliveries[:2])
    assert (first["status"].tolist(), first["quality"].tolist()) == ([4, 4], [Quality.BAD] * 2)
    assert second["value"].tolist() == [5.0, 6.0]


async def test_a_silent_unit_is_bad_and_the_others_go_on() -> None:
    async with device() as one:
        one.mute = {2}
        units = {2: {"timeout_s": 0.15, "retries": 0}}
        connection = connection_to(one.port, "1:holding:5:uint16", "2:holding:5:uint16", units=units)
        collector = Collector()
        async with running(connection, collector):
            await collector.until(lambda: len(collector.deliveries) >= 4)
    assert collector.values(100)[:3] == [5.0] * 3
    silent = collector.of(101)
    assert set(silent["status"].tolist()) == {MODBUS_NO_REPLY}
    assert np.isnan(silent["value"]).all()


async def test_a_peer_that_no_longer_answers_is_a_lost_connection() -> None:
    async with device() as one:
        one.mute = {1, 2, 3}
        connection = connection_to(one.port, "1:holding:5:uint16", timeout_s=0.05, retries=0)
        status = Status(heard_us=5)
        async with running(connection, Collector(), status) as session:
            assert "no unit answers" in str(await session.lost())
    assert status.heard_us == 5, "it was not heard"


async def test_a_restarted_device_is_a_lost_connection_and_then_a_gap() -> None:
    collector, status = Collector(), Status()
    async with device() as one:
        connection = connection_to(one.port, "1:holding:5:uint16")
        async with running(connection, collector, status) as session:
            await collector.until(lambda: len(collector.readings) >= 2)
            port = one.port
            await one.stop()
            await session.lost()
    heard = status.heard_us
    async with device(port), running(connection, collector, status):
        seen = len(collector.readings)
        await collector.until(lambda: len(collector.readings) > seen)
    outage = [gap for gap in collector.gaps if gap.reason == "disconnected"]
    assert [(gap.start_us, gap.tag_id) for gap in outage] == [(heard, None)]


async def miss(collector: Collector, clock: HeldClock, due_times: int = 3) -> None:
    """Keep the adapter from polling at some due times, and let it poll at the last of them."""
    seen = len(collector.deliveries)
    collector.open.clear()
    clock.advance(INTERVAL_S)
    await collector.until(lambda: collector.waiting == 1)
    clock.advance(due_times * INTERVAL_S)
    collector.open.set()
    await collector.until(lambda: len(collector.deliveries) == seen + 2)


async def test_polls_missed_while_the_pipeline_is_full_are_gaps() -> None:
    clock, collector = HeldClock(), Collector()
    async with device() as one, running(quick(one), collector, clock=clock):
        await collector.until(lambda: len(collector.readings) == 1)
        blocked = clock.micros() + INTERVAL_US
        await miss(collector, clock, 10)
        await polls(collector, clock, 2)
    (gap,) = collector.gaps
    assert (gap.reason, gap.start_us, gap.end_us) == ("poll_missed", blocked + INTERVAL_US, blocked + 10 * INTERVAL_US)


async def test_a_miss_that_is_not_told_yet_is_told_when_stopped_and_survives_a_kill() -> None:
    clock, collector, status = HeldClock(), Collector(), Status()
    async with device() as one:
        async with running(quick(one), collector, status, clock):
            await collector.until(lambda: len(collector.readings) == 1)
            await miss(collector, clock)
            await polls(collector, clock, 1)
            await until(lambda: status.heard_us == clock.micros(), 0.001)
            second = clock.micros() + 2 * INTERVAL_US
            await miss(collector, clock)  # it waits to be told together with what else is missed soon
            await polls(collector, clock, 1)
            assert len(collector.gaps) == 1
            await until(lambda: status.last_reading_us == clock.micros(), 0.001)
            assert status.heard_us == second, "after a kill the gap would begin there"
        assert [gap.reason for gap in collector.gaps] == ["poll_missed", "poll_missed"]
        assert collector.gaps[1].start_us == second


async def test_the_gap_after_a_lost_link_begins_behind_the_readings_although_a_miss_was_not_told() -> None:
    clock, collector, status = HeldClock(), Collector(), Status()
    async with device() as one, running(quick(one), collector, status, clock) as session:
        await collector.until(lambda: len(collector.readings) == 1)
        await miss(collector, clock)
        await miss(collector, clock)
        await one.stop()
        clock.advance(INTERVAL_S)
        await session.lost()
    assert len(collector.gaps) == 2
    assert status.heard_us >= collector.readings["time"].max()


async def test_a_miss_is_told_although_the_poll_after_it_fails() -> None:
    clock, collector = HeldClock(), Collector()
    async with device() as one, running(quick(one), collector, clock=clock) as session:
        await collector.until(lambda: len(collector.readings) == 1)
        collector.open.clear()
        clock.advance(INTERVAL_S)
        await collector.until(lambda: collector.waiting == 1)
        clock.advance(3 * INTERVAL_S)
        await one.stop()
        collector.open.set()
        await session.lost()
    assert [gap.reason for gap in collector.gaps] == ["poll_missed"]


async def test_what_could_not_be_handed_on_is_told_on_the_way_out() -> None:
    refused: list[Delivery] = []

    class Refusing(Collector):
        async def emit(self, delivery: Delivery) -> None:
            if delivery.gaps and not refused:
                refused.append(replace(delivery))
                raise ConnectionLost("planted")
            await super().emit(delivery)

    clock, collector, status = HeldClock(), Refusing(), Status()
    async with device() as one, running(quick(one), collector, status, clock) as session:
        await collector.until(lambda: len(collector.readings) == 1)
        collector.open.clear()
        clock.advance(INTERVAL_S)
        await collector.until(lambda: collector.waiting == 1)
        clock.advance(3 * INTERVAL_S)
        collector.open.set()
        await session.lost()
    assert tuple(collector.gaps) == refused[0].gaps
    assert 0 < status.heard_us < refused[0].received_us, "nor does the poll that was refused count as heard"


async def test_a_device_too_slow_for_its_interval_does_not_flood_the_gaps() -> None:
    async with device() as one:
        one.delay_s = 0.02
        collector, status = Collector(), Status()
        connection = connection_to(one.port, "1:holding:5:uint16", interval_s=0.005)
        async with running(connection, collector, status) as session:
            await collector.until(lambda: len(collector.readings) >= 10)
            assert len(collector.gaps) == 1
            await one.stop()
            await session.lost()
    first, rest = collector.gaps
    assert first.end_us <= rest.start_us < rest.end_us, "what was not told yet is told when the connection ends"


async def test_intervals_are_kept_apart() -> None:
    clock, collector = HeldClock(), Collector()
    async with device() as one:
        slow = make_tag(2, "1:holding:6:uint16", interval_s=60.0)
        connection = quick(one)
        async with running(replace(connection, tags=(*connection.tags, slow)), collector, clock=clock):
            await collector.until(lambda: len(collector.readings) == 2)
            await polls(collector, clock, 5)
    assert len(collector.of(100)) == 6
    assert len(collector.of(2)) == 1
