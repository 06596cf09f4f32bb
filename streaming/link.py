"""Lets a connection to PostgreSQL whose peer is gone without a word fail in half a minute instead of two hours."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

from psycopg import OperationalError

if TYPE_CHECKING:
    from wellos.storage.warm import PgConnection

__all__ = ["cut", "have_us_watched", "watch_peer"]

_USER_TIMEOUT_MS = 20_000
_IDLE_S, _INTERVAL_S, _PROBES = 10, 5, 3


def watch_peer(connection: PgConnection) -> None:
    """Probe an idle peer, and bound how long sent bytes may stay unanswered; nothing to do for a Unix socket."""
    with socket.socket(fileno=os.dup(connection.fileno())) as twin:
        if twin.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        twin.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in (
            (socket.TCP_KEEPIDLE, _IDLE_S),
            (socket.TCP_KEEPINTVL, _INTERVAL_S),
            (socket.TCP_KEEPCNT, _PROBES),
            (socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS),
        ):
            twin.setsockopt(socket.IPPROTO_TCP, option, value)


def have_us_watched(connection: PgConnection, lease_s: float) -> None:
    """Have the server end our transaction when we stand still or vanish: it may hold what another is to take over."""
    connection.execute(f"SET idle_in_transaction_session_timeout = '{round(lease_s * 1000)}ms'")
    for name, value in (("idle", _IDLE_S // 2), ("interval", _INTERVAL_S // 2), ("count", _PROBES)):
        connection.execute(f"SET tcp_keepalives_{name} = {value}")


def cut(connection: PgConnection | None) -> None:
    """From another thread: end the link, so that a call that waits for a silent server fails now."""
    if connection is None or connection.closed:
        return
    with contextlib.suppress(OSError, OperationalError):  # gone meanwhile: nothing waits there any more
        twin = socket.socket(fileno=os.dup(connection.fileno()))
        with twin:
            twin.shutdown(socket.SHUT_RDWR)
