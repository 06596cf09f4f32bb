"""The connections that run: adapters, checks and hot tier told of the same ones, in the order that loses nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streaming.delivery import Status
    from streaming.hotfeed import HotFeed
    from streaming.intake import Intake
    from streaming.supervise import Supervisor
    from wellos.registry import Connection

__all__ = ["Running"]

log = structlog.get_logger(__name__)


class Running:
    """Supervisor, intake and hot feed as one."""

    def __init__(self, supervisor: Supervisor, intake: Intake, feed: HotFeed) -> None:
        """Nothing runs yet."""
        self._supervisor, self._intake, self._feed = supervisor, intake, feed
        self._configured: dict[int, Connection] = {}

    async def run(self, connections: Sequence[Connection]) -> None:
        """Run exactly these; one call at a time."""
        wanted = {item.connection_id: item for item in connections}
        changed = [item for item in connections if self._configured.get(item.connection_id) != item]
        if not changed and wanted.keys() == self._supervisor.connections.keys():
            return
        # New tags are known before their readings come, and old ones until their adapter has let go of them.
        self._intake.configure([self._with_old_tags(item) for item in changed])
        self._feed.configure(connections)
        await self._supervisor.apply(connections)
        self._intake.configure(changed)
        self._configured = wanted
        log.info("connections", running=len(connections), tags=sum(len(item.tags) for item in connections))

    def connections(self) -> dict[int, Connection]:
        """Return what runs."""
        return dict(self._supervisor.connections)

    def status(self) -> dict[int, Status]:
        """Return the state of whatever ran here."""
        return dict(self._supervisor.status)

    async def stop(self) -> None:
        """Stop every adapter."""
        await self._supervisor.stop()

    async def settled(self) -> None:
        """Wait until all that was delivered so far is durable."""
        await self._intake.settled()

    def heard(self) -> dict[int, int]:
        """Return when each peer was last heard, microseconds of platform time."""
        return {key: status.heard_us for key, status in self._supervisor.status.items() if status.heard_us}

    def _with_old_tags(self, connection: Connection) -> Connection:
        old = self._configured.get(connection.connection_id)
        if old is None:
            return connection
        kept = {tag.tag_id for tag in connection.tags}
        return replace(connection, tags=connection.tags + tuple(tag for tag in old.tags if tag.tag_id not in kept))
