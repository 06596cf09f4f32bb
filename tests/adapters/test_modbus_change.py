"""A Modbus connection whose tags change while it is polled: no new connection, no poll lost, nothing else touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from streaming.adapters.modbus import ModbusAdapter
from streaming.delivery import Status
from tests.adapters.test_modbus_adapter import connection_to, device, miss
from tests.fix_adapters import Collector, make_tag, running
from wellos.clock import WallClock
from wellos.simulator.waiting import until

if TYPE_CHECKING:
    from typing import Any

    from wellos.registry import Connection


def slots(collector: Collector, tag_id: int, interval_us: int) -> list[int]:
    found: list[int] = (collector.of(tag_id)["time"] // interval_us).tolist()
    return found


async def test_tags_come_go_and_move_and_the_others_miss_no_poll() -> None:
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16", interval_s=0.2)
        tags = (*base.tags, make_tag(7, "1:holding:8:uint16", interval_s=0.2))
        slow = make_tag(8, "1:holding:9:uint16", interval_s=60)
        collector, status = Collector(), Status()
        async with running(replace(base, tags=tags), collector, status) as session:
            await collector.until(lambda: len(collector.of(7)) >= 3)
            moved = replace(tags[1], address="2:holding:300:uint16", scale=2.0)
            assert await session.adapter.change(replace(base, tags=(base.tags[0], moved, slow)))
            await collector.until(lambda: bool(len(collector.of(8))) and 600.0 in collector.values(7))
            assert await session.adapter.change(replace(base, tags=(base.tags[0],)))
            gone = len(collector.of(7))
            await collector.until(lambda: len(collector.of(100)) >= len(collector.of(8)) + 10)
        assert not collector.gaps
        assert len(collector.of(7)) <= gone + 1
        assert collector.values(8) == [9.0], "a new interval is polled at once, then at its own times"
        polled = slots(collector, 100, 200_000)
        assert polled == list(range(polled[0], polled[-1] + 1)), "every due time of a tag that did not change"
        assert {value for value in collector.values(7) if value == value} == {8.0, 600.0}  # noqa: PLR0124 - NaN
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
            await collector.until(lambda: len(collector.of(9)) == 1)
            polls = len(collector.deliveries)
            await collector.until(lambda: len(collector.deliveries) >= polls + 2)
        assert (1, 3, 0, 8) not in one.requests[requests:], "the block that is refused is not tried again"


async def test_what_an_interval_missed_is_told_when_it_goes() -> None:
    async with device() as one:
        base = connection_to(one.port, "1:holding:5:uint16", interval_s=60)
        quick = make_tag(7, "1:holding:8:uint16", interval_s=0.05)
        collector = Collector()
        async with running(replace(base, tags=(*base.tags, quick)), collector) as session:
            await collector.until(lambda: len(collector.of(7)) >= 2)
            await miss(collector)
            await miss(collector)
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
