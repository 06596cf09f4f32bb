"""A live field: its servers started, announced, and fed as platform time passes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import structlog

from wellos.simulator import live
from wellos.simulator.addresses import register_map
from wellos.simulator.companions import fill_history, keep_truth, send_entries
from wellos.simulator.endpoints import addresses_of, described, write_fleet
from wellos.simulator.field import Field
from wellos.simulator.fleet_document import fleet_document
from wellos.simulator.modbus_server import ModbusServer
from wellos.simulator.mqtt_client import MqttPublisher
from wellos.simulator.opcua_server import OpcUaServer, ServedWell
from wellos.simulator.senders import Births
from wellos.simulator.sparkplug import EdgeNode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import SecretStr

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.simulator.endpoints import Options
    from wellos.simulator.ready import ReadyFile

__all__ = ["serve_live"]

_log = structlog.get_logger(__name__)
_FIGURES_EVERY_S = 5.0


async def serve_live(options: Options, settings: Settings, broker: SecretStr, clock: Clock, ready: ReadyFile) -> None:
    """Start every server of the field, write the fleet file, say that all answer, and feed them until cancelled."""
    field = Field(seed=options.seed, wells=options.wells, tags=options.tags)
    begin_us = clock.micros()
    history_us = begin_us - (options.history or timedelta()) // timedelta(microseconds=1)
    async with AsyncExitStack() as stack:
        opcua = await _start_opcua(settings, field, begin_us, clock, stack)
        modbus = ModbusServer(register for laid in register_map(field).values() for register in laid)
        stack.push_async_callback(modbus.close)
        await modbus.start(settings.host, settings.modbus_port)
        outlets: list[live.Outlet] = [live.OpcUa(opcua, live.wells_over(field, "opcua")), live.Modbus(modbus, field)]
        publishers = await _mqtt_outlets(field, broker, clock, begin_us, stack, outlets)
        for well in outlets[1].wells:
            await outlets[1].push(well, live.last_known(field, well, begin_us), begin_us)
        addresses = addresses_of(settings, opcua, modbus, broker)
        document = fleet_document(field, addresses)
        _say_version(document, publishers)
        if options.fleet_out is not None:
            write_fleet(options.fleet_out, document)
        ready.update(state="serving", **described(addresses, options.fleet_out))
        _log.info("serving", wells=len(field.wells), opcua=addresses.opcua_url, modbus=addresses.modbus_port)
        async with asyncio.TaskGroup() as group:
            for outlet in outlets:
                group.create_task(live.run_outlet(field, outlet, begin_us, clock))
            group.create_task(send_entries(settings, field, begin_us, clock))
            group.create_task(_figures(ready, opcua, modbus, publishers))
            if options.history is not None:
                group.create_task(fill_history(settings, field, history_us, begin_us, ready, clock))
            if options.truth is not None:
                group.create_task(keep_truth(options.truth, field, history_us, clock))


async def _start_opcua(
    settings: Settings, field: Field, begin_us: int, clock: Clock, stack: AsyncExitStack
) -> OpcUaServer:
    wells = live.wells_over(field, "opcua")
    served = [ServedWell(field.wells[well].name, tuple(tag.name for tag in field.wells[well].tags)) for well in wells]
    opcua = OpcUaServer(served, live.OpcUaPast(field, wells, clock))
    stack.push_async_callback(opcua.close)
    await opcua.start(settings.host, settings.opcua_port, [live.last_known(field, well, begin_us) for well in wells])
    return opcua


async def _mqtt_outlets(
    field: Field, broker: SecretStr, clock: Clock, begin_us: int, stack: AsyncExitStack, outlets: list[live.Outlet]
) -> list[MqttPublisher]:
    """Connect one client for plain JSON and one for each edge node; add their outlets."""
    url = broker.get_secret_value()
    plain = MqttPublisher(url, "wellos-field-plain")
    stack.push_async_callback(plain.close)
    await plain.open()
    outlets.append(live.Plain(plain, field))
    publishers = [plain]
    for (group, name), wells in live.edge_nodes(field).items():
        devices = {field.wells[well].name: tuple(tag.name for tag in field.wells[well].tags) for well in wells}
        node = EdgeNode(group, name, devices)
        for well in wells:
            node.remember(field.wells[well].name, live.last_known(field, well, begin_us))
        publisher = MqttPublisher(url, f"wellos-field-{group}-{name}")
        births = Births(publisher, node, clock)
        # Not quietly: the broker tells the hosts that the node is gone.
        stack.push_async_callback(publisher.close, quietly=False)
        await publisher.open(node.command_topic)
        outlets.append(live.Sparkplug(publisher, node, births, field, wells))
        publishers.append(publisher)
    return publishers


def _say_version(document: dict[str, Any], publishers: Sequence[MqttPublisher]) -> None:
    """Have ingest speak the version that the broker speaks, where that is not the usual one."""
    version = publishers[0].version
    for tenant in document["tenants"]:
        for connection in tenant["connections"]:
            if connection["protocol"] == "mqtt" and version != 5:
                connection["config"]["version"] = version


async def _figures(
    ready: ReadyFile, opcua: OpcUaServer, modbus: ModbusServer, publishers: Sequence[MqttPublisher]
) -> None:
    while True:
        counts = {
            "opcua_samples": opcua.written,
            "modbus_reads": modbus.reads,
            "mqtt_messages": sum(publisher.published for publisher in publishers),
        }
        ready.update(counts=counts)
        await asyncio.sleep(_FIGURES_EVERY_S)
