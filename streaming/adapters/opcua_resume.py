"""Takes the subscriptions of a broken link over into a new session: what queued at the server meanwhile is not lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asyncua import ua
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError

from streaming.adapters.opcua_session import answer, answers, republish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from streaming.adapters.opcua_items import Items
    from wellos.opcua_client import SessionClient, SessionLeft
    from wellos.registry import Connection

__all__ = ["Kept", "Missed", "missed_messages", "server_started", "take_over"]

_LAST_SEQUENCE = 2**32 - 1
_MOST_MISSED = 1000
_STARTED = ua.NodeId(ua.Int32(ObjectIds.Server_ServerStatus_StartTime))


@dataclass(frozen=True, slots=True)
class Kept:
    """What an adapter leaves for the next one of its connection when the link breaks."""

    connection: Connection
    items: Items
    subscriptions: tuple[int, ...]
    sequence: dict[int, int]
    session: SessionLeft
    started: object
    """When the server started: after a restart its numbers are somebody else's."""
    until_s: float
    """On the monotonic clock: the server drops them about then."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The messages behind the last one that was handed on."""

    subscriptions: tuple[int, ...]
    notifications: list[Any]
    sequence: dict[int, int]


async def server_started(client: SessionClient) -> object:
    """Return when the server started; None where it does not say."""
    (value,) = await answers(client.uaclient.session.read_attributes([_STARTED], AttributeIds.Value), 1)
    return None if value.Value is None else value.Value.Value


async def take_over(client: SessionClient, kept: Kept, received: Callable[[ua.PublishResult], Awaitable[None]]) -> bool:
    """Make the subscriptions ours, with their old session or by transfer; false if the server refuses.

    All or none: what was transferred beside a refusal is deleted.
    """
    session = client.uaclient.session
    callbacks = session._subscription_callbacks  # noqa: SLF001 - only what is created there is known to it
    callbacks |= dict.fromkeys(kept.subscriptions, received)
    if not client.resumed and not await _transferred(client, kept.subscriptions):
        for number in kept.subscriptions:
            callbacks.pop(number, None)
        return False
    return True


async def _transferred(client: SessionClient, subscriptions: Sequence[int]) -> bool:
    session = client.uaclient.session
    parameters = ua.TransferSubscriptionsParameters(SubscriptionIds=list(subscriptions), SendInitialValues=False)
    try:
        results = await answers(session.transfer_subscriptions(parameters), len(subscriptions))
    except UaError:
        return False
    good = [number for number, result in zip(subscriptions, results, strict=True) if result.StatusCode.is_good()]
    if good and len(good) < len(subscriptions):
        await answer(session.delete_subscriptions(good))
    return len(good) == len(subscriptions)


async def missed_messages(client: SessionClient, kept: Kept) -> Missed:
    """Ask for what was sent behind the last message handed on, until the server has no more, then have it publish.

    In this order, or a message could come twice. What is missing in between shows when the next one comes: its number
    jumps.
    """
    notifications: list[Any] = []
    sequence = dict(kept.sequence)
    for subscription in kept.subscriptions:
        for _ in range(_MOST_MISSED):
            following = sequence.get(subscription, 0) % _LAST_SEQUENCE + 1
            again = await republish(client, subscription, following)
            if again is None:
                break
            notifications += again
            sequence[subscription] = following
    client.uaclient.session.ensure_publish_loop()
    return Missed(kept.subscriptions, notifications, sequence)
