"""Tags, topics and subscriptions changed while the adapter runs, against mosquitto."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from streaming.delivery import Status
from tests.adapters.test_mqtt_adapter import FIRST_S, VERSIONS, connection_to, metrics, publisher
from tests.fix_adapters import Collector, make_connection, make_tag, running

if TYPE_CHECKING:
    from tests.adapters.test_mqtt_adapter import Publisher
    from wellos.embedded.server import RunningServer
    from wellos.registry import Connection


ASKED = {"spBv1.0/LG/NCMD/N", "spBv1.0/LH/NCMD/M"}


async def arrives(source: Publisher, collector: Collector, topic: str, value: float) -> None:
    """Publish until it is delivered: nobody knows when the broker has taken a subscription."""
    async with asyncio.timeout(90):
        while not any(value in one.readings["value"] for one in collector.deliveries):
            await source.publish(topic, {"value": value, "time": FIRST_S + value})
            await asyncio.sleep(0.02)


@VERSIONS
async def test_tags_come_and_go_and_the_others_lose_nothing(mqtt_broker: RunningServer, version: int) -> None:
    base = f"live/{version}"
    before = connection_to(mqtt_broker.port, f"{base}/stay", f"{base}/go", version=version)
    tags = (replace(before.tags[0], scale=10.0), make_tag(102, f"{base}/come"))
    after = replace(before, tags=tags)
    collector, status = Collector(), Status()
    with publisher(mqtt_broker.port) as source:
        async with running(before, collector, status) as session:
            await collector.until(lambda: status.state == "connected")
            flow = asyncio.create_task(source.numbers(f"{base}/stay", range(1, 2000)))
            await collector.until(lambda: len(collector.of(100)) > 100)
            assert await session.adapter.change(after)
            await flow
            await collector.until(lambda: len(collector.of(100)) == 1999)
            await arrives(source, collector, f"{base}/come", 7.0)
            await source.publish(f"{base}/go", {"value": 5})
            await arrives(source, collector, f"{base}/come", 8.0)
            assert status.state == "connected"
            assert not session.task.done()
    values = collector.values(100)
    switch = next(place for place, value in enumerate(values) if value != float(place + 1))
    assert 100 <= switch < 1999, "the scale changed while messages came"
    assert values[switch:] == [10.0 * n for n in range(switch + 1, 2000)], "each once, in order, with its new scale"
    assert not len(collector.of(101))
    assert not collector.rejected
    assert not collector.gaps


async def test_topics_change_while_running(mqtt_broker: RunningServer) -> None:
    def templated(*topics: str) -> Connection:
        config = {"url": f"mqtt://127.0.0.1:{mqtt_broker.port}", "client_id": "test-topics", "topics": list(topics)}
        return make_connection("mqtt", config, [make_tag(1, "")])

    collector, status = Collector(), Status()
    with publisher(mqtt_broker.port) as source:
        async with running(templated("one/{tenant}/{well}/{tag}"), collector, status) as session:
            await collector.until(lambda: status.state == "connected")
            await arrives(source, collector, "one/permian/PB-001/tag_1", 1.0)
            await source.publish("one/delaware/PB-001/tag_1", b"9")
            await source.publish("one/permian/PB-009/tag_1", b"9")
            await collector.until(lambda: len(collector.rejected) == 2)
            assert await session.adapter.change(templated("two/{well}/{tag}"))
            await arrives(source, collector, "two/PB-001/tag_1", 2.0)
            await source.publish("one/permian/PB-001/tag_1", b"3")
            await arrives(source, collector, "two/PB-001/tag_1", 4.0)
    assert [(item.reason, item.original) for item in collector.rejected] == [
        ("wrong_tenant", b"9"),
        ("unknown_tag", b"9"),
    ]
    assert set(collector.values(1)) == {1.0, 2.0, 4.0}


@pytest.mark.parametrize(
    "other",
    [{"url": "mqtt://127.0.0.1:1"}, {"client_id": "x"}, {"time_pointer": "/t"}, {"version": 4}, {"nonsense": 1}],
)
async def test_what_needs_another_session_is_not_taken_over(mqtt_broker: RunningServer, other: dict[str, Any]) -> None:
    before = connection_to(mqtt_broker.port, "other/session")
    collector, status = Collector(), Status()
    async with running(before, collector, status) as session:
        assert not await session.adapter.change(before), "not connected yet"
        await collector.until(lambda: status.state == "connected")
        assert not await session.adapter.change(replace(before, config=before.config | other))
        assert not await session.adapter.change(replace(before, tags=(make_tag(1, "a/+"),)))
        assert await session.adapter.change(before)
        with publisher(mqtt_broker.port) as source:
            await arrives(source, collector, "other/session", 1.0)


async def test_a_subscription_from_before_the_change_is_given_up(mqtt_broker: RunningServer) -> None:
    before = connection_to(mqtt_broker.port, "stale/stay", "stale/gone")
    after = replace(before, tags=before.tags[:1])
    collector, status = Collector(), Status()
    with publisher(mqtt_broker.port) as source:
        async with running(before, Collector(), status):
            await collector.until(lambda: status.state == "connected")
        async with running(after, collector, Status()):
            await arrives(source, collector, "stale/stay", 1.0)
            await source.publish("stale/gone", b"1")
            await collector.until(lambda: len(collector.rejected) == 1)
            await arrives(source, collector, "stale/stay", 2.0)
            for _ in range(5):
                await source.publish("stale/gone", b"2")
            await arrives(source, collector, "stale/stay", 3.0)
    assert {item.reason for item in collector.rejected} == {"unknown_tag"}
    assert len(collector.rejected) == 1, "unsubscribed from after the first"


async def test_a_new_metric_of_a_known_node_is_asked_for(mqtt_broker: RunningServer) -> None:
    before = connection_to(mqtt_broker.port, "LG/N:oil", payload="sparkplug")
    after = replace(before, tags=(*before.tags, make_tag(101, "LG/N:gas"), make_tag(102, "LH/M:oil")))
    collector, status = Collector(), Status()
    with publisher(mqtt_broker.port) as source:
        await source.listen("spBv1.0/+/NCMD/+")
        async with running(before, collector, status) as session:
            await collector.until(lambda: status.state == "connected" and bool(source.heard))
            await source.publish("spBv1.0/LG/NBIRTH/N", metrics(0, oil="oil", alias=1, value=10.0), 0)
            await collector.until(lambda: len(collector.readings) == 1)
            assert await session.adapter.change(after)
            await collector.until(lambda: {topic for topic, _ in source.heard} >= ASKED)
            await source.publish("spBv1.0/LG/NDATA/N", metrics(1, alias=1, value=11.0), 0)
            await collector.until(lambda: collector.values(100) == [10.0, 11.0])
    assert [topic for topic, _ in source.heard if topic in ASKED].count("spBv1.0/LG/NCMD/N") == 2
    assert not collector.rejected, "aliases learned before the change are known after it"
