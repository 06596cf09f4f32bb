"""The few OPC UA services we use, over the client library's session: connect, subscribe, monitor, republish."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError

from wellos.clock import from_micros

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from asyncua.client.client import Client

    from wellos.protocols.opcua import OpcUaAddress, OpcUaConfig

__all__ = [
    "NAMESPACES",
    "UNDECODABLE",
    "HistoryPage",
    "Monitored",
    "Wanted",
    "answer",
    "answers",
    "create_subscription",
    "keeps_history",
    "monitor",
    "namespaces",
    "node_ids",
    "read_history",
    "remonitor",
    "republish",
    "unmonitor",
    "watch_namespaces",
]

_REQUEST_TIMEOUT_S = 10.0
NAMESPACES = 0xFFFF_FFFF
"""Client handle of the namespace array."""
_T = TypeVar("_T")
UNDECODABLE = (
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
    EOFError,
    MemoryError,
    struct.error,
)
"""What the library's decoder may raise over malformed bytes beside its own UaError."""
_ITEMS_A_REQUEST = 200
_KEPT_WITHOUT_US_S = 600
_NO_FILTER = frozenset(
    {
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadFilterNotAllowed,
        StatusCodes.BadDeadbandFilterInvalid,
    }
)
_KINDS = {
    "i": ua.NodeIdType.Numeric,
    "s": ua.NodeIdType.String,
    "g": ua.NodeIdType.Guid,
    "b": ua.NodeIdType.ByteString,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """How a node is to be monitored."""

    handle: int
    node: ua.NodeId | None
    """None: the server does not know the namespace."""
    sampling_ms: float = 0
    queue_size: int = 100
    absolute: float = 0
    """Deadband in the node's own unit; 0: none."""
    percent: float = 0
    """Deadband in percent of the node's range; 0: none."""


@dataclass(frozen=True, slots=True)
class Monitored:
    """What the server made of it: its number of the item, or (status not 0) why it refused."""

    handle: int
    status: int
    item_id: int = 0


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """What a server's history gave of one node."""

    status: int
    values: tuple[ua.DataValue, ...]
    more: bytes | None
    """Continuation point; None: that was all, the server says."""


async def answer(call: Awaitable[_T]) -> _T:
    """Wait for an answer; one that the library stumbles over is an error of the server like any other."""
    try:
        return await call
    except UNDECODABLE as error:
        raise UaError(f"the server's answer cannot be decoded: {type(error).__name__}: {error}") from error


async def answers(call: Awaitable[Sequence[_T] | None], count: int) -> Sequence[_T]:
    """Wait for as many answers as there were questions."""
    results = await answer(call) or ()
    if len(results) != count:
        raise UaError(f"the server gave {len(results)} answers to {count} questions")
    return results


async def namespaces(client: Client) -> list[str]:
    """Return the server's namespace URIs by their index now."""
    found = await answer(client.get_namespace_array())
    return [str(uri) for uri in found or ()]


async def watch_namespaces(client: Client, subscription: int) -> None:
    """Have changes of the namespace array sent under the handle `NAMESPACES`; a server that refuses is left alone."""
    array = Wanted(NAMESPACES, ua.NodeId(ua.Int32(ObjectIds.Server_NamespaceArray)), queue_size=1)
    await _create(client, subscription, [array], _no_filter)


async def node_ids(client: Client, addresses: Sequence[OpcUaAddress]) -> list[ua.NodeId | None]:
    """Return the node of every address; None where the server does not know the namespace URI."""
    spaces: dict[str, int] = {}
    if any(address.namespace_uri is not None for address in addresses):
        spaces = {uri: index for index, uri in enumerate(await namespaces(client))}
    nodes: list[ua.NodeId | None] = []
    for address in addresses:
        index = address.namespace if address.namespace_uri is None else spaces.get(address.namespace_uri)
        nodes.append(None if index is None else _node(address, index))
    return nodes


def _node(address: OpcUaAddress, index: int) -> ua.NodeId:
    identifier: Any = address.identifier
    return ua.NodeId(identifier, ua.Int16(index), _KINDS[address.kind])


async def create_subscription(
    client: Client, config: OpcUaConfig, received: Callable[[ua.PublishResult], Awaitable[None]]
) -> int:
    """Create a subscription whose keep-alives come three times within the watchdog; return its number."""
    interval_s = config.publishing_interval_ms / 1000
    keep_alive = max(1, int(config.watchdog_s / 3 / interval_s))
    parameters = ua.CreateSubscriptionParameters(
        RequestedPublishingInterval=config.publishing_interval_ms,
        RequestedLifetimeCount=max(3 * keep_alive, int(_KEPT_WITHOUT_US_S / interval_s)),
        RequestedMaxKeepAliveCount=keep_alive,
        MaxNotificationsPerPublish=0,
    )
    result = await answer(client.uaclient.session.create_subscription(parameters, received))
    return int(result.SubscriptionId)


async def monitor(client: Client, subscription: int, items: Sequence[Wanted]) -> list[Monitored]:
    """Create monitored items; return the fate of each.

    The filter asks for every new time stamp, changed value or not, and for the deadband where one is wanted. What a
    server cannot filter it is asked for without: more is sent then, never less.
    """
    fates = {item.handle: Monitored(item.handle, StatusCodes.BadNodeIdUnknown) for item in items if item.node is None}
    wanted = [item for item in items if item.node is not None]
    for start in range(0, len(wanted), _ITEMS_A_REQUEST):
        pending: Sequence[Wanted] = wanted[start : start + _ITEMS_A_REQUEST]
        for make_filter in _FILTERS:
            if not pending:
                break
            made = await _create(client, subscription, pending, make_filter)
            fates |= {fate.handle: fate for fate in made}
            pending = [item for item in pending if fates[item.handle].status in _NO_FILTER]
    return [fates[item.handle] for item in items]


async def remonitor(client: Client, subscription: int, items: Sequence[tuple[int, Wanted]]) -> list[int]:
    """Change how items (by the server's number) of one subscription are sampled; return their status codes."""
    statuses: list[int] = []
    for start in range(0, len(items), _ITEMS_A_REQUEST):
        chunk = items[start : start + _ITEMS_A_REQUEST]
        parameters = ua.ModifyMonitoredItemsParameters(
            SubscriptionId=subscription,
            TimestampsToReturn=ua.TimestampsToReturn.Both,
            ItemsToModify=[
                ua.MonitoredItemModifyRequest(
                    MonitoredItemId=item_id, RequestedParameters=_parameters(item, _with_deadband(item))
                )
                for item_id, item in chunk
            ],
        )
        results = await answers(client.uaclient.session.modify_monitored_items(parameters), len(chunk))
        statuses += [int(result.StatusCode.value) for result in results]
    return statuses


async def unmonitor(client: Client, subscription: int, item_ids: Sequence[int]) -> None:
    """Delete monitored items; one that is gone already is no error."""
    for start in range(0, len(item_ids), _ITEMS_A_REQUEST):
        parameters = ua.DeleteMonitoredItemsParameters(
            SubscriptionId=subscription, MonitoredItemIds=list(item_ids[start : start + _ITEMS_A_REQUEST])
        )
        await answer(client.uaclient.session.delete_monitored_items(parameters))


def _with_deadband(item: Wanted) -> ua.DataChangeFilter:
    kind = ua.DeadbandType.Percent if item.percent else ua.DeadbandType.Absolute if item.absolute else None
    return ua.DataChangeFilter(
        Trigger=ua.DataChangeTrigger.StatusValueTimestamp,
        DeadbandType=ua.UInt32(kind or ua.DeadbandType.None_),
        DeadbandValue=item.percent or item.absolute,
    )


def _every_time(_item: Wanted) -> ua.DataChangeFilter:
    return ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)


def _no_filter(_item: Wanted) -> None:
    return None


_FILTERS: tuple[Callable[[Wanted], ua.DataChangeFilter | None], ...] = (_with_deadband, _every_time, _no_filter)


def _parameters(item: Wanted, chosen: ua.DataChangeFilter | None) -> ua.MonitoringParameters:
    parameters = ua.MonitoringParameters(
        ClientHandle=item.handle, SamplingInterval=item.sampling_ms, QueueSize=item.queue_size
    )
    if chosen is not None:
        parameters.Filter = chosen
    return parameters


async def _create(
    client: Client,
    subscription: int,
    items: Sequence[Wanted],
    make_filter: Callable[[Wanted], ua.DataChangeFilter | None],
) -> list[Monitored]:
    requests = [
        ua.MonitoredItemCreateRequest(
            ItemToMonitor=ua.ReadValueId(NodeId=item.node, AttributeId=AttributeIds.Value),
            MonitoringMode=ua.MonitoringMode.Reporting,
            RequestedParameters=_parameters(item, make_filter(item)),
        )
        for item in items
    ]
    parameters = ua.CreateMonitoredItemsParameters(
        SubscriptionId=subscription, TimestampsToReturn=ua.TimestampsToReturn.Both, ItemsToCreate=requests
    )
    results = await answers(client.uaclient.session.create_monitored_items(parameters), len(items))
    return [
        Monitored(
            item.handle, 0 if result.StatusCode.is_good() else int(result.StatusCode.value), result.MonitoredItemId
        )
        for item, result in zip(items, results, strict=True)
    ]


async def republish(client: Client, subscription: int, sequence: int) -> list[object] | None:
    """Ask for a message again; None when the server no longer has it."""
    try:
        message = await answer(client.uaclient.session.republish(subscription, sequence))
    except UaError:
        return None
    return list(message.NotificationData) if message.NotificationData else None


async def keeps_history(client: Client, nodes: Sequence[ua.NodeId]) -> list[bool]:
    """Tell of each node whether this user may read its history; a server that does not say is asked for it."""
    kept: list[bool] = []
    for start in range(0, len(nodes), _ITEMS_A_REQUEST):
        chunk = list(nodes[start : start + _ITEMS_A_REQUEST])
        read = client.uaclient.session.read_attributes(chunk, AttributeIds.UserAccessLevel)
        for value in await answers(read, len(chunk)):
            level = None if value.Value is None else value.Value.Value
            kept.append(not isinstance(level, int) or bool(level & 1 << ua.AccessLevel.HistoryRead))
    return kept


async def read_history(
    client: Client, wanted: Sequence[tuple[ua.NodeId, bytes | None]], start_us: int, end_us: int, most: int
) -> list[HistoryPage]:
    """Ask for at most `most` raw values of each (node, continuation point) in a span of source time."""
    details = ua.ReadRawModifiedDetails(
        IsReadModified=False,
        StartTime=from_micros(start_us),
        EndTime=from_micros(end_us),
        NumValuesPerNode=ua.Counter(most),
        ReturnBounds=False,
    )
    parameters = ua.HistoryReadParameters(
        HistoryReadDetails=details,
        TimestampsToReturn=ua.TimestampsToReturn.Both,
        ReleaseContinuationPoints=False,
        NodesToRead=[ua.HistoryReadValueId(NodeId=node, ContinuationPoint=point) for node, point in wanted],
    )
    results = await answers(client.uaclient.session.history_read(parameters), len(wanted))
    return [_page(result) for result in results]


def _page(result: ua.HistoryReadResult) -> HistoryPage:
    status = int(result.StatusCode.value)
    values = getattr(result.HistoryData, "DataValues", None) or ()
    return HistoryPage(status, tuple(values), result.ContinuationPoint or None)
