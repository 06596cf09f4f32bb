from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from asyncua import ua
from asyncua.server.server import Server

from streaming.adapters.opcua import OpcUaAdapter
from streaming.adapters.opcua_resume import Kept
from streaming.delivery import ConnectionLost, Status
from tests.fix_adapters import Collector, free_port, make_connection, make_tag, running
from tests.proxy import proxy_to
from wellos.clock import WallClock, to_micros
from wellos.quality import Quality

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from tests.proxy import Proxy
    from wellos.registry import Connection, Tag

URI = "urn:wellos:test"
OPEN: dict[str, Any] = {"anonymous": True, "security_mode": "None"}
AT = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)


class Field:
    """A server with named variables."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = Server()
        self.nodes: dict[str, Any] = {}

    async def start(self, names: list[str], others: Sequence[str] = ()) -> None:
        await self.server.init()
        for uri in others:
            await self.server.register_namespace(uri)
        self.server.set_endpoint(f"opc.tcp://127.0.0.1:{self.port}/")
        self.server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        self.index = await self.server.register_namespace(URI)
        for name in names:
            await self.add(name)
        await self.server.start()

    async def add(self, name: str) -> None:
        node = ua.NodeId(ua.String(name), ua.Int16(self.index))
        kind, first = (ua.VariantType.String, "") if name == "text" else (ua.VariantType.Double, 0.0)
        self.nodes[name] = await self.server.nodes.objects.add_variable(node, name, first, kind)

    async def write(self, name: str, raw: Any, at: datetime = AT, status: int = 0) -> None:  # noqa: ANN401 - any value
        variant = ua.Variant(raw) if not isinstance(raw, float) else ua.Variant(raw, ua.VariantType.Double)
        stamp: Any = at
        value = ua.DataValue(variant, ua.StatusCode(ua.UInt32(status)), SourceTimestamp=stamp)
        await self.server.write_attribute_value(self.nodes[name].nodeid, value)


@asynccontextmanager
async def field(names: list[str], port: int | None = None) -> AsyncIterator[Field]:
    server = Field(port or free_port())
    await server.start(names)
    try:
        yield server
    finally:
        await server.server.stop()


def connection_to(port: int, *names: str, **config: Any) -> Connection:  # noqa: ANN401 - any setting
    settings = (
        OPEN | {"url": f"opc.tcp://127.0.0.1:{port}/", "publishing_interval_ms": 50.0, "watchdog_s": 30.0} | config
    )
    tags = [make_tag(100 + index, f"nsu={URI};s={name}") for index, name in enumerate(names)]
    return make_connection("opcua", settings, tags)


async def test_values_times_and_statuses_arrive() -> None:
    async with field(["a", "b"]) as server:
        await server.write("a", 1.5)
        collector, status = Collector(), Status()
        async with running(connection_to(server.port, "a", "b"), collector, status):
            await collector.until(lambda: 1.5 in collector.values(100))
            await server.write("a", 2.5, AT + timedelta(seconds=1), 0x40940000)
            await server.write("a", float("nan"), AT + timedelta(seconds=2), 0x808C0000)
            await collector.until(lambda: len(collector.of(100)) >= 3)
    got = collector.of(100)[-3:]
    base = to_micros(AT)
    assert got["time"].tolist() == [base, base + 1_000_000, base + 2_000_000]
    assert got["status"].tolist() == [0, 0x40940000, 0x808C0000]
    assert got["quality"].tolist() == [Quality.GOOD, Quality.UNCERTAIN, Quality.BAD]
    assert np.isnan(got["value"][2])
    assert (status.state, status.error) == ("connected", "")
    assert status.last_reading_us > 0
    assert not collector.gaps


async def test_an_unchanged_value_at_a_new_time_is_a_reading() -> None:
    async with field(["a"]) as server:
        collector = Collector()
        async with running(connection_to(server.port, "a"), collector):
            await collector.until(lambda: len(collector.of(100)) == 1)
            for second in range(3):
                await server.write("a", 7.0, AT + timedelta(seconds=second))
            await collector.until(lambda: collector.values(100)[1:] == [7.0, 7.0, 7.0])


async def test_text_goes_to_quarantine_and_the_rest_arrives() -> None:
    async with field(["text", "b"]) as server:
        await server.write("text", "pump off")
        collector = Collector()
        async with running(connection_to(server.port, "text", "b"), collector):
            await collector.until(lambda: len(collector.readings) == 1)
            await server.write("b", 9.0)
            await collector.until(lambda: 9.0 in collector.values(101) and bool(collector.rejected))
    (rejected,) = collector.rejected
    assert (rejected.reason, rejected.original) == ("malformed", b"pump off")


async def test_a_refused_node_stops_nothing_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpcUaAdapter, "retry_refused_s", 0.0)
    async with field(["a"]) as server:
        collector = Collector()
        async with running(connection_to(server.port, "a", "missing"), collector):
            await collector.until(lambda: len(collector.readings) == 2)
            (refusal,) = collector.of(101)
            assert (refusal["quality"], refusal["status"]) == (Quality.BAD, 0x80340000)
            await server.add("missing")
            await server.write("missing", 4.0)
            await server.write("a", 1.0)  # with any message they are tried again, when it is time
            await collector.until(lambda: 4.0 in collector.values(101))
    (gap,) = collector.gaps
    assert (gap.tag_id, gap.reason, gap.start_us) == (101, "node_refused", refusal["time"])


async def test_an_unknown_namespace_is_a_refused_node() -> None:
    async with field(["a"]) as server:
        tags = [make_tag(1, f"nsu={URI};s=a"), make_tag(2, "nsu=urn:nobody;s=a")]
        connection = make_connection("opcua", connection_to(server.port).config, tags)
        collector = Collector()
        async with running(connection, collector):
            await collector.until(lambda: len(collector.readings) == 2)
    assert collector.of(2)["status"].tolist() == [0x80340000]


async def test_a_stopped_server_is_a_lost_connection_and_then_a_gap() -> None:
    collector, status = Collector(), Status()
    async with field(["a"]) as server:
        connection = connection_to(server.port, "a")
        async with running(connection, collector, status) as session:
            await collector.until(lambda: len(collector.readings) == 1)
            await server.server.stop()
            await session.lost()
    heard = status.heard_us
    async with field(["a"], server.port) as again:
        await again.write("a", 42.0)
        async with running(connection, collector, status):
            await collector.until(lambda: 42.0 in collector.values(100))
    (gap,) = collector.gaps
    assert (gap.start_us, gap.reason, gap.tag_id) == (heard, "disconnected", None)
    assert gap.end_us > gap.start_us


async def test_nobody_listening_is_a_lost_connection() -> None:
    collector = Collector()
    async with running(connection_to(free_port(), "a"), collector) as session:
        assert "cannot connect" in str(await session.lost())


async def test_a_server_that_never_answers_is_silence() -> None:
    """A half-open peer: the connection stays up and nothing comes any more."""
    async with field(["a"]) as server:
        collector = Collector()
        async with running(connection_to(server.port, "a", watchdog_s=1.5), collector) as session:
            await collector.until(lambda: len(collector.readings) == 1)
            for subscription in server.server.iserver.subscription_service.subscriptions.values():
                await subscription.set_publishing_mode(enabled=False)
                subscription.data.RevisedMaxKeepAliveCount = 1_000_000
            reason = str(await session.lost())
    assert "silent" in reason or "answers no longer" in reason, "by our watchdog, or on a busy machine the library's"


async def test_silence_begins_when_everything_is_durable() -> None:
    adapter = OpcUaAdapter(connection_to(1, "a", watchdog_s=0.02), WallClock(), Status())
    adapter._unsettled = 1
    waiting = asyncio.create_task(adapter._next_message())
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done, "nothing is asked of the server, so its silence is no sign"
    adapter._settle([])
    with pytest.raises(ConnectionLost, match="silent"):
        await waiting


async def test_nothing_is_lost_while_the_pipeline_is_full() -> None:
    async with field(["a"]) as server:
        collector = Collector()
        async with running(connection_to(server.port, "a", queue_size=1000), collector):
            await collector.until(lambda: len(collector.readings) == 1)
            collector.open.clear()
            for number in range(200):
                await server.write("a", float(number), AT + timedelta(seconds=number))
                await asyncio.sleep(0.002)
            assert len(collector.readings) == 1
            collector.open.set()
            await collector.until(lambda: len(collector.readings) == 201)
    assert collector.values(100)[1:] == [float(number) for number in range(200)]
    assert not collector.gaps


async def test_a_message_is_acknowledged_when_it_is_durable() -> None:
    async with field(["a"]) as server:
        collector = Collector()
        async with running(connection_to(server.port, "a"), collector):
            await collector.until(lambda: len(collector.readings) == 1)
            (subscription,) = server.server.iserver.subscription_service.subscriptions.values()
            await collector.until(lambda: not subscription._not_acknowledged_results)
            collector.settling = False
            await server.write("a", 1.0)
            await collector.until(lambda: len(collector.readings) == 2)
            await server.write("a", 2.0, AT + timedelta(seconds=1))
            await asyncio.sleep(0.3)
            assert len(subscription._not_acknowledged_results) == 1, "after some publishing intervals"
            assert len(collector.readings) == 2
            collector.settling = True
            settle = collector.deliveries[-1].settle
            assert settle is not None
            settle()
            await collector.until(lambda: len(collector.readings) == 3)
            await collector.until(lambda: not subscription._not_acknowledged_results)
    assert not collector.gaps


async def test_more_nodes_than_one_subscription_or_request_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.adapters.opcua_watch._ITEMS_A_SUBSCRIPTION", 30)
    monkeypatch.setattr("streaming.adapters.opcua_session._ITEMS_A_REQUEST", 7)
    names = [f"n{number}" for number in range(100)]
    async with field(names) as server:
        collector = Collector()
        async with running(connection_to(server.port, *names), collector):
            await collector.until(lambda: len(set(collector.readings["tag_id"].tolist())) == 100)
    assert not collector.rejected


def retagged(connection: Connection, *tags: Tag) -> Connection:
    return replace(connection, tags=tags)


async def test_a_change_of_tags_touches_only_what_changed() -> None:
    async with field(["a", "b", "c", "d"]) as server:
        collector = Collector()
        before = connection_to(server.port, "a", "b", "c")
        a, b, _ = before.tags
        async with running(before, collector) as session:
            await collector.until(lambda: len(collector.readings) == 3)
            (subscription,) = server.server.iserver.subscription_service.subscriptions.values()
            service = subscription.monitored_item_srv
            kept = set(service._monitored_items)
            moved, scaled = replace(b, address=f"nsu={URI};s=d"), replace(a, scale=10.0)
            after = retagged(before, scaled, moved, make_tag(200, f"nsu={URI};s=missing"))
            assert await session.adapter.change(after)
            assert len(kept & set(service._monitored_items)) == 2, "the items of a and of the namespaces are the same"
            assert len(service._monitored_items) == 3
            assert len(server.server.iserver.subscription_service.subscriptions) == 1
            await server.write("a", 3.0)
            await server.write("b", 4.0)
            await server.write("d", 5.0)
            await collector.until(lambda: 5.0 in collector.values(101) and 30.0 in collector.values(100))
            assert await session.adapter.change(after), "a second time nothing changes"
    assert collector.values(100) == [0.0, 30.0]
    assert collector.values(101) == [0.0, 0.0, 5.0]
    assert collector.of(200)["quality"].tolist() == [Quality.BAD]
    assert not collector.gaps
    assert not collector.rejected


async def test_readings_flow_through_many_changes() -> None:
    async with field(["a", "b"]) as server:
        collector = Collector()
        both = connection_to(server.port, "a", "b", queue_size=1000)
        one = retagged(both, both.tags[0])
        async with running(one, collector) as session:
            await collector.until(lambda: len(collector.readings) == 1)
            for number in range(100):
                await server.write("a", float(number), AT + timedelta(seconds=number))
                if number % 5 == 0:
                    assert await session.adapter.change(both if number % 10 else one)
                await asyncio.sleep(0.002)
            await collector.until(lambda: len(collector.of(100)) == 101)
    assert collector.values(100)[1:] == [float(number) for number in range(100)]
    assert not collector.gaps


async def test_another_server_or_credential_is_a_new_start() -> None:
    async with field(["a"]) as server:
        collector, status = Collector(), Status()
        connection = connection_to(server.port, "a")
        adapter = OpcUaAdapter(connection, WallClock(), status)
        assert not await adapter.change(connection), "not connected yet"
        async with running(connection, collector, status) as session:
            await collector.until(lambda: status.state == "connected")
            assert not await session.adapter.change(
                replace(connection, config=connection.config | {"allow_expired": True})
            )
            broken = retagged(connection, make_tag(5, "no node id"))
            assert not await session.adapter.change(broken)


async def test_a_deadband_is_applied_by_the_server_and_changes_with_the_tag() -> None:
    async with field(["a"]) as server:
        collector = Collector()
        connection = connection_to(server.port, "a", deadband="absolute")
        tag = replace(connection.tags[0], deadband=10.0, scale=2.0)
        async with running(retagged(connection, tag), collector) as session:
            await collector.until(lambda: len(collector.readings) == 1)
            for second, value in enumerate((4.0, 10.0, 12.0, 20.0)):
                await server.write("a", value, AT + timedelta(seconds=second))
            await collector.until(lambda: 40.0 in collector.values(100))
            assert collector.values(100) == [0.0, 20.0, 40.0]
            assert await session.adapter.change(retagged(connection, replace(tag, deadband=0.0)))
            await server.write("a", 20.5, AT + timedelta(seconds=9))
            await collector.until(lambda: 41.0 in collector.values(100))


async def test_a_namespace_that_appears_while_connected_is_followed() -> None:
    """Tags of a module that is loaded later must not wait for the next try of refused nodes."""
    async with field(["a"]) as server:
        collector = Collector()
        tags = [make_tag(100, f"nsu={URI};s=a"), make_tag(101, "nsu=urn:later;s=b")]
        connection = make_connection("opcua", connection_to(server.port).config, tags)
        async with running(connection, collector):
            await collector.until(lambda: len(collector.readings) == 2)
            await asyncio.sleep(0.3)
            index = await server.server.register_namespace("urn:later")
            node = ua.NodeId(ua.String("b"), ua.Int16(index))
            await server.server.nodes.objects.add_variable(node, "b", 8.0, ua.VariantType.Double)
            await server.server.register_namespace("urn:last")
            await collector.until(lambda: 8.0 in collector.values(101))
            await server.write("a", 3.0)
            await collector.until(lambda: 3.0 in collector.values(100))
    assert not collector.rejected


async def test_another_index_after_a_restart_is_another_node() -> None:
    collector, status, port = Collector(), Status(), free_port()
    for others, value in (((), 1.0), (("urn:x", "urn:y"), 2.0)):
        server = Field(port)
        await server.start(["a"], others)
        await server.write("a", value)
        async with running(connection_to(port, "a"), collector, status):
            await collector.until(lambda value=value: value in collector.values(100))  # type: ignore[misc]
        await server.server.stop()
    assert collector.of(100)["quality"].tolist() == [Quality.GOOD] * 2


async def test_a_peer_that_sends_without_end_is_cut_off() -> None:
    class Endless(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - a transport
            transport.write(b"MSGF" + (2**31 - 1).to_bytes(4, "little") + bytes(10_000_000))

    listener = await asyncio.get_running_loop().create_server(Endless, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with running(connection_to(port, "a"), Collector()) as session:
        reason = str(await session.lost())
    assert "cannot connect" in reason
    assert "Timeout" not in reason, "it was cut off, not waited for"
    listener.close()


def through(proxy: Proxy, connection: Connection) -> Connection:
    return replace(connection, config=connection.config | {"url": f"opc.tcp://127.0.0.1:{proxy.port}/"})


async def test_subscriptions_outlive_a_broken_link() -> None:
    """What changed meanwhile queued at the server, and the new session takes it over: no gap."""
    async with field(["a", "b"]) as server:
        with proxy_to("127.0.0.1", server.port) as proxy:
            collector, status = Collector(), Status()
            connection = through(proxy, connection_to(server.port, "a", "b", queue_size=1000))
            service = server.server.iserver.subscription_service
            async with running(connection, collector, status) as session:
                await collector.until(lambda: status.state == "connected" and len(collector.readings) == 2)
                await server.write("a", 1.0)
                await collector.until(lambda: 1.0 in collector.values(100))
                numbers = set(service.subscriptions)
                proxy.cut()
                await session.lost()
            for number in range(50):
                await server.write("a", 10.0 + number, AT + timedelta(seconds=1 + number))
                await asyncio.sleep(0.005)
            async with running(connection, collector, status) as session:
                await collector.until(lambda: 59.0 in collector.values(100))
                assert set(service.subscriptions) == numbers, "the same, and no other"
                await server.write("b", 7.0)
                await collector.until(lambda: 7.0 in collector.values(101))
                assert await session.adapter.change(retagged(connection, connection.tags[0]))
    assert collector.values(100) == [0.0, 1.0, *(10.0 + number for number in range(50))]
    assert not collector.gaps
    assert not collector.rejected


def kept_of(status: Status) -> object:
    return status.kept


@pytest.mark.parametrize("silent", [False, True])
async def test_a_server_that_takes_nothing_over_gives_a_gap(monkeypatch: pytest.MonkeyPatch, silent: bool) -> None:
    """Also when it agrees to the transfer and then says nothing, as one library does."""
    async with field(["a"]) as server:
        with proxy_to("127.0.0.1", server.port) as proxy:
            collector, status = Collector(), Status()
            connection = through(proxy, connection_to(server.port, "a", history=False))
            impatient = replace(connection, config=connection.config | {"watchdog_s": 2.0})
            async with running(connection, collector, status) as session:
                await collector.until(lambda: status.state == "connected" and len(collector.readings) == 1)
                proxy.cut()
                await session.lost()
            heard, kept = status.heard_us, kept_of(status)
            assert isinstance(kept, Kept)
            status.kept = replace(kept, session=replace(kept.session, token=ua.NodeId(ua.Int32(999))))
            if silent:
                status.kept, status.state = replace(status.kept, connection=impatient), "waiting"
                async with running(impatient, collector, status) as session:
                    await session.lost()
                assert (status.state, status.heard_us) == ("connected", heard), "taken over, and not a word"
                assert kept_of(status) is None, "a second time it is not tried"
                assert not collector.gaps
            else:
                refused = ua.TransferResult(StatusCode=ua.StatusCode(ua.UInt32(0x801F0000)))

                async def refuse(*_: object) -> list[ua.TransferResult]:
                    return [refused]

                service = server.server.iserver.subscription_service
                monkeypatch.setattr(service, "transfer_subscriptions", refuse)
            async with running(connection, collector, status):
                await collector.until(lambda: len(collector.gaps) == 1)
                await server.write("a", 5.0)
                await collector.until(lambda: 5.0 in collector.values(100))
    (gap,) = collector.gaps
    assert (gap.reason, gap.start_us) == ("disconnected", heard)
