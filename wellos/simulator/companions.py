"""What goes on beside the live field's servers: history into the warm tier, pumpers' entries, the ground truth."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg
import structlog

from wellos.clock import from_micros
from wellos.errors import ConfigurationError, UnreachableError
from wellos.simulator.behaviour import DAY_US
from wellos.simulator.entries import FieldEntries
from wellos.simulator.entry_table import write_entries
from wellos.simulator.history import backfill
from wellos.simulator.truth import write_truth
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from pathlib import Path

    from wellos.clock import Clock
    from wellos.settings import Settings
    from wellos.simulator.field import Field
    from wellos.simulator.ready import ReadyFile

__all__ = ["fill_history", "keep_truth", "send_entries"]

_log = structlog.get_logger(__name__)
_ENTRIES_EVERY_S = 30.0
_REGISTRY_EVERY_S = 1.0
_REGISTRY_PATIENCE_S = 600.0
_TRUTH_AHEAD_US = 2 * DAY_US


class _Stopped(Exception):  # noqa: N818 - not an error
    """The simulator stops in the middle of its history; the next start goes on there."""


async def fill_history(
    settings: Settings, field: Field, start_us: int, end_us: int, ready: ReadyFile, clock: Clock
) -> None:
    """Backfill (start, end], as soon as the registry has the field; ConfigurationError if it never does."""
    loop, stop = asyncio.get_running_loop(), threading.Event()

    def progress(what: str, share: float) -> None:
        if stop.is_set():
            raise _Stopped
        loop.call_soon_threadsafe(lambda: ready.update(history={"state": "running", "what": what, "share": share}))

    def fill() -> None:
        with closing(connect(settings, autocommit=True)) as conn:
            done = backfill(conn, field, start_us, end_us, progress)
        _log.info("history filled", readings=done.readings, entries=done.entries)

    ready.update(history={"state": "waiting", "what": "registry", "share": 0.0})
    deadline = clock.monotonic() + _REGISTRY_PATIENCE_S
    try:
        while True:
            try:
                await asyncio.to_thread(fill)
            except ConfigurationError:
                if clock.monotonic() > deadline:
                    raise
                await asyncio.sleep(_REGISTRY_EVERY_S)
            except _Stopped:
                return
            else:
                ready.update(history={"state": "done", "what": "", "share": 1.0})
                return
    finally:
        stop.set()


async def send_entries(settings: Settings, field: Field, start_us: int, clock: Clock) -> None:
    """Write pumpers' entries into the database as their time comes, for ever."""
    entries, after = FieldEntries(field), start_us
    if settings.database_url is None:
        _log.warning("no database is set: pumpers' entries go nowhere", setting="WELLOS_DATABASE_URL")
        return

    def send(until_us: int) -> int:
        with closing(connect(settings, autocommit=True)) as conn:
            return write_entries(conn, field, entries.entries(after + 1, until_us + 1))

    while True:
        await asyncio.sleep(_ENTRIES_EVERY_S)
        now = clock.micros()
        try:
            written = await asyncio.to_thread(send, now)
        except (ConfigurationError, UnreachableError, psycopg.OperationalError) as error:
            _log.warning("entries wait", since=from_micros(after).isoformat(), reason=str(error))
            continue
        after = now
        if written:
            _log.info("entries written", entries=written)


async def keep_truth(path: Path, field: Field, start_us: int, clock: Clock) -> None:
    """Keep the ground truth from `start_us` to at least a day ahead of the clock in a file, for ever."""
    end = 0
    while True:
        if clock.micros() + DAY_US > end:
            end = clock.micros() + _TRUTH_AHEAD_US
            lines = await asyncio.to_thread(write_truth, path, field, start_us, end)
            _log.info("ground truth written", file=str(path), faults=lines)
        await asyncio.sleep(_ENTRIES_EVERY_S)
