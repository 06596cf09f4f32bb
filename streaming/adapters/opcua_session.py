"""The few OPC UA services we use, over the client library's session: connect, subscribe, monitor, republish."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.status_codes import StatusCodes
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from streaming.delivery import ConnectionLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from wellos.protocols.opcua import OpcUaAddress, OpcUaConfig

__all__ = ["BadNode", "connect", "create_subscription", "disconnect", "monitor", "node_ids", "republish"]

_REQUEST_TIMEOUT_S = 10.0
_GOODBYE_S = 3.0
_ITEMS_A_REQUEST = 200
_KEPT_WITHOUT_US_S = 600
_NO_FILTER = frozenset(
    {
        StatusCodes.BadMonitoredItemFilterInvalid,
        StatusCodes.BadMonitoredItemFilterUnsupported,
        StatusCodes.BadFilterNotAllowed,
    }
)
_KINDS = {
    "i": ua.NodeIdType.Numeric,
    "s": ua.NodeIdType.String,
    "g": ua.NodeIdType.Guid,
    "b": ua.NodeIdType.ByteString,
}


@dataclass(frozen=True, slots=True)
class BadNode:
    """A node that the server does not let us monitor."""

    position: int
    status: int


async def connect(config: OpcUaConfig) -> Client:
    """Open channel and session; ConnectionLost says why not, ConfigurationError which variable is not set."""
    user, password = config.credentials()
    # The probe of the library has its interval as time-out: a loaded server must not look dead to it.
    client = Client(config.url, timeout=_REQUEST_TIMEOUT_S, watchdog_intervall=config.watchdog_s)
    client.name = client.description = "WellOS"
    client.session_timeout = int(max(60, 3 * config.watchdog_s) * 1000)
    if user is not None:
        client.set_user(user)
    if password is not None:
        client.set_password(password)
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT_S):
            await client.connect()
    except (OSError, TimeoutError, UaError) as error:
        await disconnect(client)
        reason = str(error) or type(error).__name__
        raise ConnectionLost(f"{config.url}: cannot connect: {reason}") from error
    except asyncio.CancelledError:
        await disconnect(client)
        raise
    return client


async def disconnect(client: Client) -> None:
    """Say goodbye if the server still answers, and leave no task or socket either way."""
    try:
        async with asyncio.timeout(_GOODBYE_S):
            await client.disconnect()
    except (OSError, TimeoutError, UaError):
        client.disconnect_socket()


async def node_ids(client: Client, addresses: Sequence[OpcUaAddress]) -> list[ua.NodeId | None]:
    """Return the node of every address; None where the server does not know the namespace URI."""
    spaces: dict[str, int] = {}
    if any(address.namespace_uri is not None for address in addresses):
        spaces = {uri: index for index, uri in enumerate(await client.get_namespace_array())}
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
    result = await client.uaclient.session.create_subscription(parameters, received)
    return int(result.SubscriptionId)


async def monitor(
    client: Client, config: OpcUaConfig, subscription: int, items: Sequence[tuple[int, ua.NodeId | None]]
) -> list[BadNode]:
    """Create monitored items whose client handle is the tag's position; return those the server refused.

    The filter asks for every new time stamp, changed value or not; servers that know no filter are asked without.
    """
    refused = [BadNode(position, StatusCodes.BadNodeIdUnknown) for position, node in items if node is None]
    wanted = [(position, node) for position, node in items if node is not None]
    for start in range(0, len(wanted), _ITEMS_A_REQUEST):
        chunk = wanted[start : start + _ITEMS_A_REQUEST]
        bad = await _create(client, config, subscription, chunk, filtered=True)
        plain = {node.position for node in bad if node.status in _NO_FILTER}
        if plain:
            again = [(position, node) for position, node in chunk if position in plain]
            bad = [node for node in bad if node.position not in plain]
            bad += await _create(client, config, subscription, again, filtered=False)
        refused += bad
    return refused


async def _create(
    client: Client,
    config: OpcUaConfig,
    subscription: int,
    items: Sequence[tuple[int, ua.NodeId]],
    *,
    filtered: bool,
) -> list[BadNode]:
    requests = []
    for position, node in items:
        parameters = ua.MonitoringParameters(
            ClientHandle=position, SamplingInterval=config.sampling_interval_ms, QueueSize=config.queue_size
        )
        if filtered:
            parameters.Filter = ua.DataChangeFilter(Trigger=ua.DataChangeTrigger.StatusValueTimestamp)
        item = ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value)
        requests.append(
            ua.MonitoredItemCreateRequest(
                ItemToMonitor=item, MonitoringMode=ua.MonitoringMode.Reporting, RequestedParameters=parameters
            )
        )
    results = await client.uaclient.session.create_monitored_items(
        ua.CreateMonitoredItemsParameters(
            SubscriptionId=subscription, TimestampsToReturn=ua.TimestampsToReturn.Both, ItemsToCreate=requests
        )
    )
    return [
        BadNode(position, int(result.StatusCode.value))
        for (position, _), result in zip(items, results, strict=True)
        if not result.StatusCode.is_good()
    ]


async def republish(client: Client, subscription: int, sequence: int) -> list[object] | None:
    """Ask for a message again; None when the server no longer has it."""
    try:
        message = await client.uaclient.session.republish(subscription, sequence)
    except UaStatusCodeError:
        return None
    return list(message.NotificationData) if message.NotificationData else None
