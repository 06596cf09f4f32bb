"""A Modbus connection whose tags change while it is polled: no new connection, no poll lost, nothing else touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streaming.adapters.modbus import ModbusAdapter
from streaming.delivery import Status
from tests.adapters.test_modbus_adapter import INTERVAL_S, connection_to, device, miss
from tests.clocks import HeldClock
from tests.fix_adapters import Collector, make_tag, running
from wellos.clock import WallClock
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from typing import Any

    from wellos.registry import Connection


STEP_S = 0.02


async def polls(collector: Collector, clock: HeldClock, number: int) -> None:
    """Let the clock pass so many due times of tag 100, each when the one before has been polled."""
    for _ in range(number):
        seen = len(collector.of(100))
        clock.advance(STEP_S)
        await collector.until(lambda seen=seen: len(collector.of(100)) > seen)  # type: ignore[misc]


async def test_tags_come_go_and_move_and_the_others_miss_no_poll() -> None:
    clock, collector, status = HeldClock(), Collector(), Status()
    begin = clock.micros()
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16", interval_s=STEP_S)
        tags = (*base.tags, make_tag(7, "1:holding:8:uint16", interval_s=STEP_S))
        slow = make_tag(8, "1:holding:9:uint16", interval_s=5 * STEP_S)
        async with running(replace(base, tags=tags), collector, status, clock) as session:
            await collector.until(lambda: len(collector.of(100)) == 1)
            await polls(collector, clock, 2)
            moved = replace(tags[1], address="2:holding:300:uint16", scale=2.0)
            assert await session.adapter.change(replace(base, tags=(base.tags[0], moved, slow)))
            await collector.until(lambda: len(collector.of(8)) == 1)
            await polls(collector, clock, 8)
            await collector.until(lambda: len(collector.of(8)) == 3)
            assert await session.adapter.change(replace(base, tags=(base.tags[0],)))
            await polls(collector, clock, 10)

    def due(tag_id: int) -> list[float]:
        polled: list[float] = ((collector.of(tag_id)["time"] - begin) / (STEP_S * 1e6)).tolist()
        return polled

    assert not collector.gaps
    assert due(100) == list(range(21)), "every due time of a tag that did not change, once"
    assert due(8) == [2, 5, 10], "a new interval is polled at once, then at its own times"
    assert collector.values(8) == [9.0] * 3
    assert collector.values(7) == [8.0] * 3 + [600.0] * 8
    assert status.missed_polls == 0


async def test_what_was_learned_of_an_unchanged_interval_is_kept() -> None:
    async with device() as one:
        one.illegal = {6}
        base = connection_to(one.port, *(f"1:holding:{place}:uint16" for place in range(8)), interval_s=0.1)
        collector = Collector()
        async with running(base, collector) as session:
            await collector.until(lambda: len(collector.deliveries) >= 2)
            requests = len(one.requests)
            extra = make_tag(9, "1:coil:2:bool", interval_s=60)
            assert await session.adapter.change(replace(base, tags=(*base.tags, extra)))
            await collector.until(lambda: len(collector.of(9)) >= 1)
            polled = len(collector.deliveries)
            await collector.until(lambda: len(collector.deliveries) >= polled + 2)
        assert (1, 3, 0, 8) not in one.requests[requests:], "the block that is refused is not tried again"


async def test_what_an_interval_missed_is_told_when_it_goes() -> None:
    clock, collector = HeldClock(), Collector()
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16", interval_s=60)
        quick = make_tag(7, "1:holding:8:uint16", interval_s=INTERVAL_S)
        async with running(replace(base, tags=(*base.tags, quick)), collector, clock=clock) as session:
            await collector.until(lambda: len(collector.readings) == 2)
            await miss(collector, clock)
            await miss(collector, clock)
            assert [gap.tag_id for gap in collector.gaps] == [7], "the second waits"
            assert await session.adapter.change(base)
            await collector.until(lambda: len(collector.gaps) == 2)
        first, second = collector.gaps
        assert (second.reason, second.tag_id) == ("poll_missed", 7)
        assert first.end_us < second.start_us


async def test_from_no_tags_to_some_and_back() -> None:
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16")
        collector, status = Collector(), Status()
        async with running(replace(base, tags=()), collector, status) as session:
            await until(lambda: status.state == "connected", 0.01)
            assert await session.adapter.change(base)
            await collector.until(lambda: len(collector.readings) >= 2)
            assert await session.adapter.change(replace(base, tags=()))
        assert collector.values(100)[0] == 5.0


async def test_time_outs_and_block_sizes_are_taken_over() -> None:
    async with device() as one:
        base = connection_to(one.port, *(f"1:holding:{place}:uint16" for place in range(8)))
        collector = Collector()
        async with running(base, collector) as session:
            await collector.until(lambda: len(collector.deliveries) >= 2)
            config = base.config | {"max_registers": 4, "timeout_s": 1}
            assert await session.adapter.change(replace(base, config=config))
            await collector.until(lambda: (1, 3, 4, 4) in one.requests)
        assert np.isfinite(collector.readings["value"]).all()


@pytest.mark.parametrize(
    "other", [{"host": "localhost"}, {"port": 1}, {"framing": "rtu"}, {"retries": -1}, {"nonsense": 1}]
)
async def test_another_peer_or_a_mistake_is_for_a_new_adapter(other: dict[str, Any]) -> None:
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16")
        collector, status = Collector(), Status()
        async with running(base, collector, status) as session:
            await until(lambda: status.state == "connected", 0.01)
            assert not await session.adapter.change(replace(base, config=base.config | other))
            assert not await session.adapter.change(with_address(base, "1:holding:5:float31"))
            seen = len(collector.readings)
            await collector.until(lambda: len(collector.readings) > seen)


async def test_not_connected_it_takes_over_nothing() -> None:
    connection = connection_to(1, "1:holding:5:uint16")
    assert not await ModbusAdapter(connection, WallClock(), Status()).change(connection)


def with_address(connection: Connection, address: str) -> Connection:
    return replace(connection, tags=(replace(connection.tags[0], address=address),))
