"""A real OPC UA server of a field: one object a well, one variable a tag, source times and status codes kept."""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.server.server import Server
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes

from wellos.clock import from_micros
from wellos.simulator.addresses import NAMESPACE
from wellos.simulator.opcua_history import History, Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncua.common.node import Node
    from asyncua.server.internal_subscription import InternalSubscription
    from asyncua.server.monitored_item_service import MonitoredItemService

    from wellos.readings import Readings
    from wellos.simulator.opcua_history import Past

__all__ = ["OpcUaServer", "ServedWell", "node_address"]

_VALUE = AttributeIds.Value
_DOUBLE = ua.VariantType.Double
_LET_OTHERS_RUN = 200
"""Samples written before the server's own tasks get their turn."""


@dataclass(frozen=True, slots=True)
class ServedWell:
    """A well as a server shows it: its name and its tags'."""

    name: str
    tags: tuple[str, ...]


def node_address(well: str, tag: str) -> str:
    """Return the address of a tag's node, as the fleet file writes it."""
    return f"nsu={NAMESPACE};s={well}.{tag}"


def _node_id(identifier: Any, index: int) -> ua.NodeId:  # noqa: ANN401 - the library wants its own subclass of str
    return ua.NodeId(identifier, ua.Int16(index))


class OpcUaServer:
    """An OPC UA server on one port. Samples written to it go to every subscriber, each with its own source time."""

    def __init__(self, wells: Sequence[ServedWell], past: Past | None = None) -> None:
        """Name the wells; with a past the server keeps history, which is read from there. No I/O."""
        self.wells = tuple(wells)
        self.url = ""
        self.written = 0
        self._server = Server()
        self._nodes: list[list[ua.NodeId]] = []
        self._recorded: dict[ua.NodeId, Recorded] = {}
        if past is not None:
            self._server.iserver.history_manager = History(self._server.iserver, past, self._recorded, _data_value)
        self._keeps_history = past is not None

    async def start(self, host: str, port: int, initial: Sequence[Readings]) -> str:
        """Build the address space and listen; return the address.

        `initial` holds for each well what its nodes show before anything is written: a client that subscribes gets
        that at once, so it must be true. A tag without an initial sample shows BadWaitingForInitialData.
        """
        # Each lost client would be an error with a traceback: a device does not mind who hangs up.
        logging.getLogger("asyncua").setLevel(logging.CRITICAL)
        await self._server.init()
        self._server.set_endpoint(f"opc.tcp://{host}:{port}/")
        self._server.set_server_name("WellOS field simulator")
        self._server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        index = await self._server.register_namespace(NAMESPACE)
        for number, well in enumerate(self.wells):
            folder = await self._server.nodes.objects.add_object(_node_id(well.name, index), well.name)
            self._nodes.append([await self._add(folder, index, well.name, tag) for tag in well.tags])
            self._recorded |= {node: Recorded(number, tag) for tag, node in enumerate(self._nodes[-1])}
        for position, samples in enumerate(initial):
            await self.write(position, samples)
        self.written = 0
        await self._server.start()
        listener = None if self._server.bserver is None else self._server.bserver._server  # noqa: SLF001 - the port
        if not isinstance(listener, asyncio.Server):
            raise TypeError("the OPC UA server started without a socket")
        bound = listener.sockets[0].getsockname()[1]
        self.url = f"opc.tcp://{host}:{bound}/"
        return self.url

    async def _add(self, folder: Node, index: int, well: str, tag: str) -> ua.NodeId:
        node = await folder.add_variable(
            _node_id(f"{well}.{tag}", index), ua.QualifiedName(tag, ua.UInt16(index)), 0.0, _DOUBLE
        )
        if self._keeps_history:
            for attribute in (AttributeIds.AccessLevel, AttributeIds.UserAccessLevel):
                await node.set_attr_bit(attribute, ua.AccessLevel.HistoryRead)
        waiting = ua.DataValue(StatusCode=ua.StatusCode(ua.UInt32(StatusCodes.BadWaitingForInitialData)))
        await self._server.write_attribute_value(node.nodeid, waiting)
        nodeid: ua.NodeId = node.nodeid
        return nodeid

    async def write(self, well: int, samples: Readings) -> None:
        """Write the samples of one well in their order, one after the other; `tag_id` is the tag's position."""
        nodes = self._nodes[well]
        codes: dict[int, ua.StatusCode] = {}
        # The library takes one value at a time: this loop cannot be an array operation.
        columns = (samples["tag_id"].tolist(), samples["time"].tolist(), samples["value"].tolist())
        for done, (tag, time, value, code) in enumerate(zip(*columns, samples["status"].tolist(), strict=True)):
            status = codes.get(code) or codes.setdefault(code, ua.StatusCode(ua.UInt32(code)))
            await self._server.write_attribute_value(nodes[tag], _shown(time, value, status))
            if done % _LET_OTHERS_RUN == _LET_OTHERS_RUN - 1:
                await asyncio.sleep(0)
        self.written += len(samples)

    def subscribers(self, well: int) -> frozenset[int]:
        """Return the handles of all monitored items of a well; empty unless every one of its tags is monitored.

        Only those of connected clients count: a session outlives its connection, for a client that comes back.
        """
        space = self._server.iserver.aspace
        handles: set[int] = set()
        for nodeid in self._nodes[well]:
            callbacks = space._nodes[nodeid].attributes[_VALUE].datachange_callbacks  # noqa: SLF001 - no public way to ask
            watching = {handle for handle, callback in callbacks.items() if not _cut_off(_subscription(callback))}
            if not watching:
                return frozenset()
            handles |= watching
        return frozenset(handles)

    def backlog(self) -> int:
        """Return how many samples the slowest connected client has not acknowledged: queued, or sent, unconfirmed."""
        most = 0
        for subscription in self._server.iserver.subscription_service.subscriptions.values():
            if _cut_off(subscription):
                continue
            queued = sum(map(len, subscription._triggered_datachanges.values()))  # noqa: SLF001 - no public way to ask
            sent = sum(
                len(notification.MonitoredItems)
                for result in subscription._not_acknowledged_results.values()  # noqa: SLF001 - same
                for notification in result.NotificationMessage.NotificationData
                if isinstance(notification, ua.DataChangeNotification)
            )
            most = max(most, queued + sent)
        return most

    async def close(self) -> None:
        """Stop listening and let every client go."""
        await self._server.stop()


def _shown(time_us: int, value: float, status: ua.StatusCode) -> ua.DataValue:
    nothing = math.isnan(value)
    variant = ua.Variant(None if nothing else value, ua.VariantType.Null if nothing else _DOUBLE)
    moment: Any = from_micros(time_us)
    return ua.DataValue(variant, status, SourceTimestamp=moment, ServerTimestamp=moment)


def _data_value(time_us: int, value: float, code: int) -> ua.DataValue:
    return _shown(time_us, value, ua.StatusCode(ua.UInt32(code)))


def _subscription(callback: object) -> InternalSubscription:
    """Return the subscription whose monitored items call back here."""
    service: MonitoredItemService = getattr(callback, "__self__")  # noqa: B009 - a bound method, typed as any callable
    return service.isub


def _cut_off(subscription: InternalSubscription) -> bool:
    """Tell whether the connection that a subscription publishes on is gone."""
    processor = getattr(subscription.pub_request_callback, "__self__", None)
    return bool(getattr(processor, "_closing", False))
