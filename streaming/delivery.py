"""What an adapter hands to the pipeline: one packed batch, what it could not use, and how to acknowledge it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol, TypeAlias

from wellos.readings import empty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from wellos.clock import Clock
    from wellos.readings import Readings
    from wellos.registry import Connection

__all__ = ["Adapter", "ConnectionLost", "Delivery", "Episode", "Filled", "Gap", "Rejected", "Severity", "Status"]

Severity: TypeAlias = Literal["INFO", "WARN", "ERROR"]


@dataclass(frozen=True, slots=True)
class Rejected:
    """Something received that is not a reading of a known tag: kept whole in quarantine."""

    reason: str
    """One of the fixed words of `quarantine.reason`: unknown_tag, wrong_tenant, malformed, too_large, future, ..."""
    detail: str
    source: str
    """Topic, node id or register it came from."""
    original: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Readings that were never received: a row of `ingest_gaps`."""

    start_us: int
    end_us: int
    reason: str
    tag_id: int | None = None
    """None: every tag of the connection."""


@dataclass(frozen=True, slots=True)
class Filled:
    """A span whose readings have come after all, from the source's own history: closes the gaps that lie within it."""

    start_us: int
    end_us: int
    tag_id: int | None = None
    """None: every tag of the connection, and gaps of the whole connection."""


@dataclass(frozen=True, slots=True)
class Episode:
    """A finding that lasts: a row of `quality_events`, opened once and written again when it grows or ends.

    (connection, tag, check, start) names it. It never changes a stored value or quality.
    """

    check: str
    severity: Severity
    start_us: int
    tag_id: int | None = None
    """None: the connection itself."""
    end_us: int | None = None
    """None: it goes on."""
    evidence: Mapping[str, float | int | str] = field(default_factory=dict)
    """Numbers a person judges it by: limit, worst value, count, score."""


@dataclass(slots=True)
class Delivery:
    """One unit of acknowledgement from one connection."""

    connection_id: int
    received_us: int
    readings: Readings = field(default_factory=empty)
    rejected: tuple[Rejected, ...] = ()
    gaps: tuple[Gap, ...] = ()
    settle: Callable[[], None] | None = None
    """Called once on the event loop after the delivery is durable: acknowledges the source, where it can be."""
    filled: tuple[Filled, ...] = ()


@dataclass(slots=True)
class Status:
    """What a connection's adapter last knew; read by /metrics and written to `ingest_connections`.

    The supervisor keeps one for the life of a connection and hands it to every adapter it builds for it.
    """

    state: str = "connecting"
    """connecting, connected, failed, stopped"""
    since_us: int = 0
    last_reading_us: int = 0
    error: str = ""
    heard_us: int = 0
    """Platform time of the last word from the peer, readings or not, 0 for never. Kept by the adapter; the next one
    begins with a Gap of the whole connection from here to its own first word, unless the source has kept everything.
    """
    missed_polls: int = 0
    """Due times of polled tags that went by without a poll, since this process started."""

    recall: Callable[[], Awaitable[Sequence[Gap]]] | None = None
    """Asks the database for the gaps of this connection that are still open, oldest first: what an adapter whose source
    keeps a history fills. RetryableError while there is no database. None: nobody to ask.
    """

    kept: object | None = None
    """What an adapter leaves for the next one of this connection, such as subscriptions that live on at the server."""

    def become(self, state: str, now_us: int, error: str = "") -> None:
        """Enter a state; `since_us` moves only when the state is another one."""
        if state != self.state:
            self.state, self.since_us = state, now_us
        self.error = error

    def outage(self, now_us: int, reason: str = "disconnected") -> tuple[Gap, ...]:
        """Return the gap between the peer's last word and now; none for a peer never heard."""
        return (Gap(min(self.heard_us, now_us), now_us, reason),) if self.heard_us else ()


class ConnectionLost(Exception):  # noqa: N818 - the field's word for it
    """The peer is gone or never was there; the supervisor waits and starts a new adapter."""


class Adapter(Protocol):
    """One protocol's client for one connection. Built anew for every attempt to connect."""

    loss_window: ClassVar[str]
    """What can be lost before the spool has it, in one sentence."""

    def __init__(self, connection: Connection, clock: Clock, status: Status) -> None:
        """Parse addresses; no I/O."""
        ...

    async def run(self, emit: Callable[[Delivery], Awaitable[None]]) -> None:
        """Connect and deliver until cancelled; raise ConnectionLost when the peer goes.

        `emit` waits while the pipeline is full.
        """
        ...

    async def change(self, connection: Connection) -> bool:
        """Take over a changed set of tags while running, touching only the tags that changed and losing nothing.

        False: it cannot (another address, other credentials, not connected now); the supervisor starts a new adapter.
        """
        ...
