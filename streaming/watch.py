"""Follows the registry: what connections there are, and when that, or who shares them, changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streaming.lease_table import CHANNEL
from streaming.link import cut, watch_peer
from wellos.registry import load_connections
from wellos.storage import warm

if TYPE_CHECKING:
    from wellos.registry import Connection
    from wellos.settings import Settings
    from wellos.storage.warm import PgConnection

__all__ = ["REGISTRY", "RegistryWatch"]

REGISTRY = "wellos_registry"


class RegistryWatch:
    """One connection to the database that listens. Blocking; called from one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        """No I/O: the first read connects."""
        self._settings = settings
        self._connection: PgConnection | None = None

    @property
    def connected(self) -> bool:
        """The last call did not fail."""
        return self._connection is not None

    def read(self) -> tuple[Connection, ...]:
        """Return the connections to run, and listen for changes from before they were read."""
        if self._connection is None:
            self._connection = warm.connect(self._settings, autocommit=True)
            watch_peer(self._connection)
            self._connection.execute(f"LISTEN {REGISTRY}")
            self._connection.execute(f"LISTEN {CHANNEL}")
        return load_connections(self._connection, checked=False)

    def heard(self, timeout_s: float) -> set[str]:
        """Wait up to `timeout_s` for a notification, and return the channels on which there was one."""
        if self._connection is None:
            return set()
        return {item.channel for item in self._connection.notifies(timeout=timeout_s, stop_after=1)}

    def abort(self) -> None:
        """From another thread: cut the connection, so that a call that waits for a silent server fails now."""
        cut(self._connection)

    def close(self) -> None:
        """Close the connection; `read` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
