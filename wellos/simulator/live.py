"""The live field: what its devices send reaches their servers as platform time passes, protocol by protocol."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import numpy as np
from pymodbus.constants import ExcCodes

from wellos.readings import empty
from wellos.simulator.addresses import mqtt_topic, register_map, sparkplug_node
from wellos.simulator.senders import plain_messages
from wellos.simulator.wells import HEARTBEAT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.simulator.addresses import Register
    from wellos.simulator.field import Field
    from wellos.simulator.modbus_server import ModbusServer
    from wellos.simulator.model import WireProtocol
    from wellos.simulator.mqtt_client import MqttPublisher
    from wellos.simulator.opcua_server import OpcUaServer
    from wellos.simulator.senders import Births
    from wellos.simulator.sparkplug import EdgeNode

__all__ = [
    "Modbus",
    "OpcUa",
    "OpcUaPast",
    "Outlet",
    "Plain",
    "Sparkplug",
    "edge_nodes",
    "last_known",
    "run_outlet",
    "wells_over",
]

_TICK_S = 0.5


class Outlet(Protocol):
    """The way of some wells' readings to whoever reads them."""

    @property
    def wells(self) -> Sequence[int]:
        """Numbers of the wells."""
        ...

    async def push(self, well: int, samples: Readings, now_us: int) -> None:
        """Hand on what a well's device sent until now; `samples` may be empty."""
        ...


def wells_over(field: Field, protocol: WireProtocol) -> list[int]:
    """Return the numbers of the wells read over a protocol."""
    return [number for number, well in enumerate(field.wells) if well.protocol == protocol]


def last_known(field: Field, well: int, now_us: int) -> Readings:
    """Return the newest sample of each tag within a heartbeat: what a server shows when it starts."""
    return _newest(field.samples(well, now_us - HEARTBEAT_S * 1_000_000, now_us))


def _newest(samples: Readings) -> Readings:
    if not len(samples):
        return empty()
    _, first = np.unique(samples["tag_id"][::-1], return_index=True)
    newest: Readings = samples[len(samples) - 1 - first]
    return newest


async def run_outlet(field: Field, outlet: Outlet, start_us: int, clock: Clock) -> None:
    """Push everything sent after `start_us`, for ever, never ahead of the clock.

    While an outlet waits, as for a broker that is gone, its devices keep what they have to say.
    """
    after = start_us
    while True:
        now = clock.micros()
        if now > after:
            for well in outlet.wells:
                await outlet.push(well, field.samples(well, after, now), now)
            after = now
        await asyncio.sleep(_TICK_S)


class OpcUaPast:
    """What the field's devices on the OPC UA server sent up to now."""

    def __init__(self, field: Field, wells: Sequence[int], clock: Clock) -> None:
        """`wells` are the server's, in its order."""
        self._field, self._wells, self._clock = field, tuple(wells), clock

    def now_us(self) -> int:
        """Platform time."""
        return self._clock.micros()

    def samples(self, well: int, after_us: int, until_us: int) -> Readings:
        """Return what a well of the server sent in (after, until]."""
        return self._field.samples(self._wells[well], after_us, until_us)


class OpcUa:
    """Wells on the OPC UA server."""

    def __init__(self, server: OpcUaServer, wells: Sequence[int]) -> None:
        """`wells` are the server's, in its order."""
        self.wells = tuple(wells)
        self._server = server
        self._position = {well: at for at, well in enumerate(wells)}

    async def push(self, well: int, samples: Readings, now_us: int) -> None:  # noqa: ARG002 - the outlet's signature
        """Write all samples."""
        await self._server.write(self._position[well], samples)


class Modbus:
    """Wells on the Modbus server: a register each tag, holding what it showed last."""

    def __init__(self, server: ModbusServer, field: Field) -> None:
        """Nothing is written yet."""
        self._server, self._field = server, field
        self._registers: dict[int, tuple[Register, ...]] = register_map(field)
        self.wells = tuple(self._registers)
        self._silent: dict[int, frozenset[int]] = {}

    async def push(self, well: int, samples: Readings, now_us: int) -> None:
        """Write the newest value of each tag. An instrument that dropped out has none; a whole unit does not answer."""
        registers = self._registers[well]
        newest = _newest(samples)
        for tag, value in zip(newest["tag_id"].tolist(), newest["value"].tolist(), strict=True):
            self._server.write(registers[tag], value)
        self._drop(well, now_us)

    def _drop(self, well: int, now_us: int) -> None:
        registers = self._registers[well]
        silent = _silent(self._field, well, now_us)
        before = self._silent.get(well, frozenset())
        for tag in silent:
            self._server.write(registers[tag], float("nan"))
        everything = len(registers)
        if (len(silent) == everything) != (len(before) == everything):
            unit = registers[0].address.unit
            self._server.refuse(unit, ExcCodes.GATEWAY_NO_RESPONSE if len(silent) == everything else None)
        self._silent[well] = silent


def _silent(field: Field, well: int, now_us: int) -> frozenset[int]:
    faults = [fault for fault in field.faults(now_us, now_us + 1) if fault.well == well and fault.kind == "dropout"]
    return frozenset(tag for fault in faults for tag in fault.tags)


class Plain:
    """Wells that publish JSON."""

    def __init__(self, publisher: MqttPublisher, field: Field) -> None:
        """`publisher` is connected, or will be."""
        self.wells: tuple[int, ...] = tuple(wells_over(field, "mqtt"))
        self._publisher, self._field = publisher, field

    async def push(self, well: int, samples: Readings, now_us: int) -> None:  # noqa: ARG002 - the outlet's signature
        """Publish one message for each time."""
        described = self._field.wells[well]
        tags = tuple(tag.name for tag in described.tags)
        ordered = samples[np.lexsort((samples["tag_id"], samples["time"]))]
        await self._publisher.publish_all(list(plain_messages(mqtt_topic(described), tags, ordered)))


class Sparkplug:
    """The wells behind one edge node."""

    def __init__(
        self, publisher: MqttPublisher, node: EdgeNode, births: Births, field: Field, wells: Sequence[int]
    ) -> None:
        """`wells` are the node's devices."""
        self.wells = tuple(wells)
        self._publisher, self._node, self._births, self._field = publisher, node, births, field
        self._dead: set[int] = set()

    async def push(self, well: int, samples: Readings, now_us: int) -> None:
        """Publish data; a device that is cut off dies, and is born again when it is back."""
        name = self._field.wells[well].name
        cut_off = len(_silent(self._field, well, now_us)) == len(self._field.wells[well].tags)
        if len(samples) and well in self._dead:
            self._dead.discard(well)
            await self._publisher.publish(*self._node.device_birth(name, now_us))
        if len(samples):
            await self._publisher.publish(*self._node.data(name, samples, now_us))
        if cut_off and well not in self._dead:
            self._dead.add(well)
            await self._publisher.publish(*self._node.device_death(name, now_us))


def edge_nodes(field: Field) -> dict[tuple[str, str], list[int]]:
    """Return the wells of each edge node, by group and node."""
    nodes: dict[tuple[str, str], list[int]] = {}
    for number in wells_over(field, "sparkplug"):
        well = field.wells[number]
        nodes.setdefault((well.tenant, sparkplug_node(well)), []).append(number)
    return nodes
