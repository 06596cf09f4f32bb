from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from streaming.adapters.opcua_history import HistoryFill
from streaming.adapters.opcua_pages import Cursor, group_size
from streaming.delivery import Filled, Gap, Status
from tests.adapters.test_opcua_adapter import OPEN
from tests.fix_adapters import Collector, free_port, make_connection, make_tag, running
from wellos.clock import WallClock, from_micros
from wellos.errors import RetryableError
from wellos.quality import Quality
from wellos.readings import Flag, Readings, empty, pack
from wellos.simulator.opcua_history import History
from wellos.simulator.opcua_server import OpcUaServer, ServedWell, node_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from wellos.registry import Connection

SECOND = 1_000_000


class Recording:
    """A past that a test wrote down."""

    def __init__(self, samples: Readings | None = None) -> None:
        self.kept = empty() if samples is None else samples

    def now_us(self) -> int:
        return WallClock().micros()

    def samples(self, well: int, after_us: int, until_us: int) -> Readings:  # noqa: ARG002 - there is one well
        time = self.kept["time"]
        chosen: Readings = self.kept[(time > after_us) & (time <= until_us)]
        return chosen


def every(seconds: float, start_us: int, end_us: int, tags: int) -> Readings:
    times = np.arange(start_us, end_us, int(seconds * SECOND))
    return pack(np.repeat(times, tags), np.arange(len(times) * tags) % 97, np.tile(np.arange(tags), len(times)), 2)


@asynccontextmanager
async def served(port: int, past: Recording | None, tags: int = 2) -> AsyncIterator[OpcUaServer]:
    server = OpcUaServer([ServedWell("W", tuple(f"t{n}" for n in range(tags)))], past)
    await server.start("127.0.0.1", port, [pack([1], [0.5], [0], 2)])
    try:
        yield server
    finally:
        await server.close()


def connection_to(port: int, tags: int = 2, **config: Any) -> Connection:  # noqa: ANN401 - any setting
    settings = OPEN | {"url": f"opc.tcp://127.0.0.1:{port}/", "publishing_interval_ms": 50.0, "history_margin_s": 0.0}
    made = [make_tag(100 + n, node_address("W", f"t{n}"), interval_s=1.0) for n in range(tags)]
    return make_connection("opcua", settings | config, made)


def filled(collector: Collector) -> list[Filled]:
    return [span for delivery in collector.deliveries for span in delivery.filled]


def historical(collector: Collector) -> Readings:
    readings = collector.readings
    chosen: Readings = readings[(readings["flags"] & Flag.HISTORICAL) != 0]
    return chosen


async def test_an_outage_is_closed_from_history() -> None:
    port, now = free_port(), WallClock().micros()
    past = Recording(every(1.0, now - 60 * SECOND, now - SECOND, 2))
    status, collector = Status(heard_us=now - 30 * SECOND), Collector()
    async with served(port, past), running(connection_to(port), collector, status):
        await collector.until(lambda: bool(filled(collector)))
    (gap,) = collector.gaps
    assert filled(collector) == [Filled(gap.start_us, gap.end_us)]
    wanted = past.kept[past.kept["time"] >= gap.start_us]
    got = historical(collector)
    assert sorted(got[["time", "tag_id", "value"]].tolist()) == sorted(
        (time, 100 + tag, value) for time, tag, value in wanted[["time", "tag_id", "value"]].tolist()
    )
    assert (got["quality"] == Quality.GOOD).all()
    order = [bool(delivery.filled) for delivery in collector.deliveries]
    last = max(at for at, item in enumerate(collector.deliveries) if (item.readings["flags"] & 1).any())
    assert order.index(True) > last, "closed only after what closes it"


async def test_a_day_of_many_tags_comes_in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each hour of it is kept: the row of the rest is all that a restart has left to do."""
    monkeypatch.setattr("streaming.adapters.opcua_history._NAP_S", 0.01)
    port, now, tags = free_port(), WallClock().micros(), 20
    past = Recording(every(60.0, now - 86_400 * SECOND, now, tags))
    status, collector = Status(heard_us=now - 86_400 * SECOND), Collector()
    quick = connection_to(port, tags, history_per_s=1_000_000)
    async with served(port, past, tags), running(quick, collector, status):
        await collector.until(lambda: len(filled(collector)) == 24)
    assert len(np.unique(historical(collector)[["tag_id", "time"]])) == len(past.kept)
    assert max(len(delivery.readings) for delivery in collector.deliveries) <= 500
    spans, gaps = filled(collector), collector.gaps
    assert [(gap.start_us, gap.end_us) for gap in gaps] == [(span.start_us, span.end_us) for span in spans]
    ends = {gap.end_us - gaps[0].end_us for gap in gaps}
    assert ends == set(range(24)), "each rest is a microsecond longer than what closes its predecessor"


async def test_without_history_the_gap_stays_open_and_is_asked_for_once() -> None:
    port, now = free_port(), WallClock().micros()
    status, collector = Status(heard_us=now - 30 * SECOND), Collector()
    async with served(port, None) as server, running(connection_to(port), collector, status):
        await collector.until(lambda: len(collector.readings) >= 2)
        await asyncio.sleep(1.5)
        await server.write(0, pack([now], [7.0], [0], 2))
        await collector.until(lambda: 7.0 in collector.values(100))
    assert len(collector.gaps) == 1
    assert not filled(collector)


async def test_nothing_in_the_history_leaves_the_gap_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryFill, "retry_s", 0.2)
    port, now = free_port(), WallClock().micros()
    past = Recording()
    status, collector = Status(heard_us=now - 30 * SECOND), Collector()
    async with served(port, past) as server, running(connection_to(port), collector, status):
        await collector.until(lambda: len(collector.gaps) == 1)
        await asyncio.sleep(1.0)
        assert not filled(collector)
        past.kept = every(1.0, now - 20 * SECOND, now - 10 * SECOND, 2)
        manager = server._server.iserver.history_manager
        assert isinstance(manager, History)
        manager._block.cache_clear()
        await collector.until(lambda: bool(filled(collector)))


async def test_what_lies_in_the_margins_closes_no_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryFill, "retry_s", 600.0)
    port, now = free_port(), WallClock().micros()
    past = Recording(every(1.0, now - 60 * SECOND, now - 30 * SECOND, 2))
    status, collector = Status(heard_us=now - 28 * SECOND), Collector()
    connection = connection_to(port, history_margin_s=5.0)
    async with served(port, past), running(connection, collector, status) as session:
        await collector.until(lambda: len(collector.gaps) == 1)
        (item,) = session.adapter._fill._open.values()  # type: ignore[attr-defined]
        item.due_us = 0  # not before the margin has passed
        await collector.until(lambda: item.pause_s == 1200.0)
        assert len(historical(collector)) > 0
        assert not filled(collector)


async def test_a_tag_without_history_gets_the_gap_to_itself() -> None:
    port, now = free_port(), WallClock().micros()
    past = Recording(every(1.0, now - 20 * SECOND, now, 2))
    status, collector = Status(heard_us=now - 30 * SECOND), Collector()
    async with served(port, past) as server:
        node = server._server.get_node(server._nodes[0][1])
        for attribute in (17, 18):
            await node.unset_attr_bit(attribute, 2)
        async with running(connection_to(port), collector, status):
            await collector.until(lambda: bool(filled(collector)))
    whole, rest = collector.gaps
    assert filled(collector) == [Filled(whole.start_us, whole.end_us)]
    assert rest == Gap(whole.start_us - 1, whole.end_us, "disconnected", 101)
    assert set(historical(collector)["tag_id"].tolist()) == {100}


async def test_gaps_of_earlier_sessions_are_asked_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HistoryFill, "retry_s", 0.1)
    port, now = free_port(), WallClock().micros()
    past = Recording(every(1.0, now - 3600 * SECOND, now - 3000 * SECOND, 2))
    old = Gap(now - 3500 * SECOND, now - 3400 * SECOND, "sequence_jump", 101)
    answers: list[Sequence[Gap] | None] = [None, [old], [old], [old]]

    async def recall() -> Sequence[Gap]:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer is None:
            raise RetryableError("no database yet")
        return answer

    collector = Collector()
    async with served(port, past), running(connection_to(port), collector, Status(recall=recall)):
        await collector.until(lambda: bool(filled(collector)))
        await collector.until(lambda: len(answers) == 1)
        await asyncio.sleep(0.5)
    assert filled(collector) == [Filled(old.start_us, old.end_us, 101)]
    assert set(historical(collector)["tag_id"].tolist()) == {101}
    assert len(historical(collector)) == 101


async def test_nothing_counts_as_filled_before_it_is_durable_and_live_data_flows_meanwhile() -> None:
    port, now = free_port(), WallClock().micros()
    past = Recording(every(1.0, now - 20 * SECOND, now, 2))
    status, collector = Status(heard_us=now - 30 * SECOND), Collector()
    held: list[Any] = []
    emit = collector.emit

    async def hold_history(delivery: Any) -> None:  # noqa: ANN401 - a delivery
        if (delivery.readings["flags"] & Flag.HISTORICAL).any():
            held.append(delivery.settle)
            delivery.settle = None
        await emit(delivery)

    collector.emit = hold_history  # type: ignore[method-assign]
    async with served(port, past) as server, running(connection_to(port), collector, status):
        await collector.until(lambda: bool(held))
        await server.write(0, pack([now], [7.0], [0], 2))
        await collector.until(lambda: 7.0 in collector.values(100))
        assert not filled(collector)
        assert len(held) == 1, "one page at a time"
        held[0]()
        await collector.until(lambda: bool(filled(collector)))


@pytest.mark.parametrize(
    ("span_s", "interval_s", "size"), [(1, 1, 50), (100, 1, 5), (3600, 1, 1), (3600, 60, 8), (0, 0, 50)]
)
def test_what_a_span_may_hold_fits_one_answer(span_s: int, interval_s: float, size: int) -> None:
    assert group_size(span_s * SECOND, interval_s) == size


def values_at(*times_us: int) -> list[Any]:
    from asyncua import ua  # noqa: PLC0415 - beside its one use

    stamps: list[Any] = [from_micros(time) for time in times_us]
    return [ua.DataValue(ua.Variant(1.0), SourceTimestamp=stamp) for stamp in stamps]


def cursor() -> Cursor:
    node: Any = None
    return Cursor(0, node, 100, 1_000_000)


def test_a_full_page_without_a_continuation_point_goes_on_from_its_last_value() -> None:
    one = cursor()
    one.turn(values_at(100, 200), None, 2)
    assert (one.start_us, one.ended) == (200, False)
    one.turn(values_at(200, 200), None, 2)
    assert (one.start_us, one.ended) == (201, False), "and never stands still"
    one.turn(values_at(300), None, 2)
    assert one.ended
    assert not one.endless


def test_a_server_that_goes_on_without_end_is_given_up() -> None:
    one = cursor()
    for _ in range(10):
        one.turn([], b"more", 2)
    assert one.ended
    assert one.endless


def test_values_beyond_the_end_do_not_turn_the_direction_round() -> None:
    one = cursor()
    one.turn(values_at(100, 2_000_000), None, 2)
    assert one.ended
