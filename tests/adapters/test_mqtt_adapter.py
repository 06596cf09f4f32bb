from __future__ import annotations

import asyncio
import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from streaming.adapters import mqtt_link, mqtt_wire
from streaming.delivery import Status
from tests.fix_adapters import Collector, free_port, make_connection, make_tag, running
from wellos.clock import WallClock
from wellos.protocols.sparkplug_pb import NODE_REBIRTH, DataType, Payload
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streaming.adapters.mqtt_wire import Message
    from wellos.embedded.server import RunningServer
    from wellos.registry import Connection

VERSIONS = pytest.mark.parametrize("version", [5, 4])
FIRST_S = 1_793_534_400


class Publisher:
    """A client that publishes and waits until the broker has it."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.on_message = lambda _client, _data, message: self.heard.append(
            (message.topic, bytes(message.payload))
        )
        self._subscribed = threading.Event()
        self.client.on_subscribe = lambda *_all: self._subscribed.set()
        self.client.max_queued_messages_set(0)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    async def listen(self, name: str) -> None:
        self.client.subscribe(name)
        assert await asyncio.to_thread(self._subscribed.wait, 20)

    async def publish(self, topic: str, body: Any, qos: int = 1, *, retain: bool = False) -> None:  # noqa: ANN401
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = self.client.publish(topic, raw, qos, retain)
        await asyncio.to_thread(sent.wait_for_publish, 20)

    async def numbers(self, topic: str, values: range) -> None:
        sent = [self.client.publish(topic, json.dumps({"value": n, "time": FIRST_S + n}), 1) for n in values]
        await asyncio.to_thread(sent[-1].wait_for_publish, 20)


@contextmanager
def publisher(port: int) -> Iterator[Publisher]:
    one = Publisher(port)
    try:
        yield one
    finally:
        one.client.disconnect()
        one.client.loop_stop()


def connection_to(port: int, *addresses: str, **config: Any) -> Connection:  # noqa: ANN401 - any setting
    tags = [make_tag(100 + index, address) for index, address in enumerate(addresses)]
    client_id = "test-" + addresses[0].partition("#")[0].replace("/", "-")
    return make_connection("mqtt", {"url": f"mqtt://127.0.0.1:{port}", "client_id": client_id} | config, tags)


@VERSIONS
async def test_values_times_and_qualities_arrive(mqtt_broker: RunningServer, version: int) -> None:
    topic = f"values/{version}"
    connection = connection_to(mqtt_broker.port, f"{topic}#/values/a", f"{topic}#/values/b", version=version)
    collector, status = Collector(), Status()
    async with running(connection, collector, status):
        await collector.until(lambda: status.state == "connected")
        with publisher(mqtt_broker.port) as source:
            await source.publish(topic, {"time": FIRST_S, "values": {"a": 1.5, "b": 2}, "quality": {"b": "UNCERTAIN"}})
            await source.publish(topic, b"nonsense")
            await source.publish(topic, {"time": FIRST_S + 1, "values": {"a": None}})
            await collector.until(lambda: len(collector.readings) == 3)
    assert collector.readings["tag_id"].tolist() == [100, 101, 100]
    assert collector.readings["time"].tolist() == [FIRST_S * 10**6, FIRST_S * 10**6, (FIRST_S + 1) * 10**6]
    assert collector.readings["quality"].tolist() == [Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]
    assert [found.original for found in collector.rejected] == [b"nonsense"]
    assert status.last_reading_us > 0


@VERSIONS
async def test_what_is_not_settled_is_delivered_again(mqtt_broker: RunningServer, version: int) -> None:
    topic = f"unsettled/{version}"
    connection = connection_to(mqtt_broker.port, topic, version=version)
    status = Status()
    first = Collector()
    with publisher(mqtt_broker.port) as source:
        async with running(connection, first, status):
            await first.until(lambda: status.state == "connected")
            await source.numbers(topic, range(50))
            await first.until(lambda: len(first.readings) == 50)
            first.settling = False
            await source.numbers(topic, range(50, 120))
            await first.until(lambda: len(first.readings) == 120)
        await source.numbers(topic, range(120, 150))
    second = Collector()
    async with running(connection, second, status):
        await second.until(lambda: len(second.readings) >= 100)
    assert second.values(100) == [float(n) for n in range(50, 150)], "settled ones are not sent again, the rest are"
    assert not second.gaps, "the broker kept our session"


@VERSIONS
async def test_more_waiting_than_the_inbox_takes_does_not_keep_it_from_connecting(
    mqtt_broker: RunningServer, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(mqtt_link, "_INBOX_FULL", 100)
    topic = f"backlog/{version}"
    connection = connection_to(mqtt_broker.port, topic, version=version)
    status, collector = Status(), Collector()
    async with running(connection, collector, status):
        await collector.until(lambda: status.state == "connected")
    with publisher(mqtt_broker.port) as source:
        await source.numbers(topic, range(1000))
    async with running(connection, collector, status):
        await collector.until(lambda: len(collector.readings) == 1000)
    assert collector.values(100) == [float(n) for n in range(1000)]


async def test_acknowledgements_go_in_the_order_of_the_messages(
    mqtt_broker: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    written = mqtt_wire.puback_packets

    def puback(messages: list[Message]) -> bytes:
        sent.extend(message.mid for message in messages)
        return written(messages)

    monkeypatch.setattr(mqtt_wire, "puback_packets", puback)
    status, collector = Status(), Collector()
    collector.settling = False
    async with running(connection_to(mqtt_broker.port, "in/order#/a"), collector, status):
        await collector.until(lambda: status.state == "connected")
        with publisher(mqtt_broker.port) as source:
            for number in range(5):
                await source.publish("in/order", {"a": number})
                await collector.until(lambda number=number: len(collector.readings) == number + 1)  # type: ignore[misc]
        for delivery in reversed(collector.deliveries):
            assert delivery.settle is not None
            assert not sent
            delivery.settle()
    assert len(sent) == 5
    assert sent == sorted(sent)


async def test_a_delivery_settled_after_the_connection_is_gone_harms_nothing(mqtt_broker: RunningServer) -> None:
    connection = connection_to(mqtt_broker.port, "late/settle")
    status, first, second = Status(), Collector(), Collector()
    first.settling = False
    with publisher(mqtt_broker.port) as source:
        async with running(connection, first, status):
            await first.until(lambda: status.state == "connected")
            await source.numbers("late/settle", range(3))
            await first.until(lambda: len(first.readings) == 3)
    for delivery in first.deliveries:
        assert delivery.settle is not None
        delivery.settle()
    async with running(connection, second, status):
        await second.until(lambda: len(second.readings) == 3)


@VERSIONS
async def test_the_broker_restarts_and_nothing_is_lost(own_mqtt_broker: RunningServer, version: int) -> None:
    connection = connection_to(own_mqtt_broker.port, "restart", version=version)
    status, collector = Status(), Collector()
    async with running(connection, collector, status) as session:
        await collector.until(lambda: status.state == "connected")
        with publisher(own_mqtt_broker.port) as source:
            await source.numbers("restart", range(10))
        await collector.until(lambda: len(collector.readings) == 10)
        await asyncio.to_thread(own_mqtt_broker.stop)
        await session.lost()
    await asyncio.to_thread(own_mqtt_broker.start)
    with publisher(own_mqtt_broker.port) as source:
        await source.numbers("restart", range(10, 20))
    async with running(connection, collector, status):
        await collector.until(lambda: len(set(collector.values(100))) == 20)
    assert not collector.gaps


async def test_a_lost_session_is_a_gap(mqtt_broker: RunningServer) -> None:
    connection = connection_to(mqtt_broker.port, "forgotten")
    status, collector = Status(heard_us=FIRST_S * 10**6), Collector()
    async with running(connection, collector, status):
        await collector.until(lambda: bool(collector.gaps))
    (gap,) = collector.gaps
    assert (gap.start_us, gap.reason, gap.tag_id) == (FIRST_S * 10**6, "session_lost", None)


@VERSIONS
async def test_nothing_is_lost_while_the_pipeline_is_full(
    mqtt_broker: RunningServer, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr(mqtt_link, "RECEIVE_MAXIMUM", 50)
    monkeypatch.setattr(mqtt_link, "_INBOX_FULL", 100)
    topic = f"full/{version}"
    connection = connection_to(mqtt_broker.port, topic, version=version)
    status, collector = Status(), Collector()
    async with running(connection, collector, status):
        await collector.until(lambda: status.state == "connected")
        collector.open.clear()
        with publisher(mqtt_broker.port) as source:
            await source.numbers(topic, range(1000))
        await collector.until(lambda: collector.waiting == 1)
        assert not len(collector.readings)
        collector.open.set()
        await collector.until(lambda: len(collector.readings) == 1000)
    assert collector.values(100) == [float(n) for n in range(1000)]


@pytest.mark.fault
async def test_a_frozen_broker_is_a_lost_connection(
    own_mqtt_broker: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt_link, "_KEEP_ALIVE_S", 2)
    status, collector = Status(), Collector()
    async with running(connection_to(own_mqtt_broker.port, "frozen"), collector, status) as session:
        await collector.until(lambda: status.state == "connected")
        connected = status.heard_us
        await collector.until(lambda: status.heard_us > connected)
        own_mqtt_broker.freeze()
        assert "Keep alive" in str(await session.lost())
        lost = WallClock().micros()
    own_mqtt_broker.thaw()
    assert status.heard_us < lost - 1_000_000, "a peer that fell silent was last heard before"


async def test_retained_values_without_a_time_are_not_invented(mqtt_broker: RunningServer) -> None:
    with publisher(mqtt_broker.port) as source:
        await source.publish("kept/bare", b"5", retain=True)
        await source.publish("kept/timed", {"value": 6, "time": FIRST_S}, retain=True)
        collector = Collector()
        async with running(connection_to(mqtt_broker.port, "kept/bare", "kept/timed"), collector):
            await collector.until(lambda: len(collector.readings) == 1 and len(collector.rejected) == 1)
            await source.publish("kept/bare", b"7")
            await collector.until(lambda: collector.values(100) == [7.0])
    assert collector.values(101) == [6.0]


async def test_sparkplug_births_data_and_death(mqtt_broker: RunningServer) -> None:
    connection = connection_to(mqtt_broker.port, "G/N:oil", "G/N/D:gas", payload="sparkplug")
    collector, status = Collector(), Status()
    with publisher(mqtt_broker.port) as source:
        await source.listen("spBv1.0/G/NCMD/N")
        async with running(connection, collector, status):
            await collector.until(lambda: status.state == "connected")
            await collector.until(lambda: bool(source.heard))
            await source.publish("spBv1.0/G/NDATA/N", metrics(3, oil=None, alias=1, value=1.0), 0)
            await collector.until(lambda: bool(collector.rejected))
            await source.publish("spBv1.0/G/NBIRTH/N", metrics(0, oil="oil", alias=1, value=10.0), 0)
            await source.publish("spBv1.0/G/DBIRTH/N/D", metrics(1, oil="gas", alias=2, value=20.0), 0)
            await source.publish("spBv1.0/G/DDATA/N/D", metrics(2, oil=None, alias=2, value=21.0), 0)
            await source.publish("spBv1.0/G/NDEATH/N", metrics(0), 0)
            await collector.until(lambda: len(collector.readings) == 5)
    topic, body = source.heard[0]
    assert topic == "spBv1.0/G/NCMD/N"
    assert Payload.FromString(body).metrics[0].name == NODE_REBIRTH
    assert collector.readings["tag_id"].tolist() == [100, 101, 101, 100, 101]
    assert collector.readings["value"].tolist()[:3] == [10.0, 20.0, 21.0]
    assert collector.readings["status"].tolist() == [192, 192, 192, 500, 500]
    assert collector.readings["quality"].tolist()[3:] == [Quality.BAD, Quality.BAD]
    assert not collector.gaps


@pytest.mark.parametrize("config", [{"payload": "sparkplug"}, {"qos": 0}])
async def test_what_goes_at_qos_0_while_we_are_away_is_a_gap(
    mqtt_broker: RunningServer, config: dict[str, Any]
) -> None:
    connection = connection_to(mqtt_broker.port, "G/away:oil", client_id="away-" + next(iter(config)), **config)
    collector, status = Collector(), Status()
    for _ in range(2):
        status.become("connecting", 0)
        async with running(connection, collector, status):
            since = status.heard_us
            await collector.until(lambda: status.state == "connected")
    (gap,) = collector.gaps
    assert (gap.start_us, gap.reason, gap.tag_id) == (since, "disconnected", None)


def metrics(seq: int, *, oil: str | None = None, alias: int = 0, value: float | None = None) -> bytes:
    message = Payload(timestamp=FIRST_S * 1000, seq=seq)
    if value is not None:
        metric = message.metrics.add(alias=alias, datatype=DataType.DOUBLE, double_value=value)
        if oil:
            metric.name = oil
    return bytes(message.SerializeToString())


async def test_shared_subscriptions_split_the_messages(mqtt_broker: RunningServer) -> None:
    both = [Collector(), Collector()]
    statuses = [Status(), Status()]
    connections = [
        connection_to(mqtt_broker.port, "shared/tag", group="ingest", client_id=f"member-{number}") for number in (1, 2)
    ]
    async with running(connections[0], both[0], statuses[0]), running(connections[1], both[1], statuses[1]):
        await both[0].until(lambda: all(status.state == "connected" for status in statuses))
        with publisher(mqtt_broker.port) as source:
            await source.numbers("shared/tag", range(100))
        await both[0].until(lambda: sum(len(one.readings) for one in both) == 100)
    assert sorted(both[0].values(100) + both[1].values(100)) == [float(n) for n in range(100)]
    assert all(len(one.readings) for one in both)


@VERSIONS
async def test_a_member_that_goes_loses_nothing_of_its_share(mqtt_broker: RunningServer, version: int) -> None:
    topic = f"share/{version}"
    first, second = Collector(), Collector()
    statuses = [Status(), Status()]
    connections = [
        connection_to(mqtt_broker.port, topic, group="ingest", client_id=f"m{version}-{number}", version=version)
        for number in (1, 2)
    ]
    async with running(connections[1], second, statuses[1]):
        await second.until(lambda: statuses[1].state == "connected")
        with publisher(mqtt_broker.port) as source:
            async with running(connections[0], first, statuses[0]):
                await first.until(lambda: statuses[0].state == "connected")
                first.settling = False
                await source.numbers(topic, range(100))
                await first.until(lambda: len(first.readings) + len(second.readings) == 100)
            unsettled = first.values(100)
            await source.numbers(topic, range(100, 200))
        again = Collector()
        async with running(connections[0], again, statuses[0]):
            await again.until(lambda: len(set(again.values(100) + second.values(100))) == 200)
    assert unsettled
    assert set(unsettled) <= set(again.values(100) + second.values(100))
    assert not again.gaps


async def test_nobody_listening_is_a_lost_connection() -> None:
    async with running(connection_to(free_port(), "nobody"), Collector()) as session:
        assert "cannot connect" in str(await session.lost())


async def test_cancelled_while_connecting_leaves_nothing() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        async with running(connection_to(listener.getsockname()[1], "half-open"), Collector()):
            await asyncio.sleep(0.1)


async def test_the_time_of_bare_values_is_that_of_receipt(mqtt_broker: RunningServer) -> None:
    status, collector = Status(), Collector()
    async with running(connection_to(mqtt_broker.port, "bare/number"), collector, status):
        await collector.until(lambda: status.state == "connected")
        with publisher(mqtt_broker.port) as source:
            await source.publish("bare/number", b"12.5")
        await collector.until(lambda: len(collector.readings) == 1)
    (delivery,) = collector.deliveries
    assert delivery.readings["time"].tolist() == [delivery.received_us]
