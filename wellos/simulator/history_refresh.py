"""Makes the one-minute aggregate of history's days while later days are being stored, on a connection of its own.

It is by far the largest. The coarser ones are left to one refresh in the end: day by day they took three times as long.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import psycopg

from wellos.clock import from_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from wellos.storage.warm import PgConnection

__all__ = ["refreshing"]

_Mailbox = SimpleQueue["int | None"]
"""Moments up to which all is stored, ascending; None: no more to come."""


@contextmanager
def refreshing(conn: PgConnection, start_us: int) -> Iterator[Callable[[int], None]]:
    """Give a function to be told up to which moment all of history from `start_us` on is stored.

    On leaving, waits until all of that is refreshed; an error of the refresh is raised then. When left by an exception
    the refresh is cancelled. Only the address of `conn` is used.
    """
    mailbox = _Mailbox()
    password, options = conn.info.password or None, "-c timezone=UTC"
    with (
        psycopg.connect(conn.info.dsn, password=password, autocommit=True, options=options) as own,
        ThreadPoolExecutor(1, "refresh") as worker,
    ):
        work = worker.submit(_refresh, own, start_us, mailbox)
        complete = False
        try:
            yield mailbox.put
            complete = True
        finally:
            if not complete:
                own.cancel_safe()
            mailbox.put(None)
        work.result()


def _refresh(conn: PgConnection, since_us: int, mailbox: _Mailbox) -> None:
    while (until_us := _newest(mailbox)) is not None:
        since, until = from_micros(since_us), from_micros(until_us)
        conn.execute("CALL refresh_aggregate('readings_1min', %s, %s)", (since, until))
        since_us = until_us


def _newest(mailbox: _Mailbox) -> int | None:
    """Wait for a moment; return the latest of those that have come."""
    newest = mailbox.get()
    while newest is not None:
        try:
            further = mailbox.get_nowait()
        except Empty:
            break
        if further is None:
            mailbox.put(None)  # found again at the next look
            break
        newest = further
    return newest
