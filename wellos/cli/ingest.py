"""`wellos ingest`: the ingest process in the foreground."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from wellos.fleet.apply import needs_registry
from wellos.forget import forget
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from uuid import UUID

__all__ = ["ingest"]


@click.command()
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most connections that this instance claims; as WELLOS_MAX_CONNECTIONS.",
)
@click.option(
    "--forget",
    "forget_spool",
    type=click.UUID,
    metavar="SPOOL",
    help="Start nothing: close the row of an instance that is gone for good, and say what may be lost with it.",
)
def ingest(max_connections: int | None, forget_spool: UUID | None) -> None:
    """Read the connections of the registry into the spool, PostgreSQL and Redis, until told to stop.

    The same as `python -m streaming`. Several instances, each with its own WELLOS_DATA_DIR, share the connections
    among them. Stops on Ctrl-C or SIGTERM within 5 seconds; what is not stored by then is in the spool and is stored
    after the next start.
    """
    if forget_spool is not None:
        _forget(forget_spool)
        return
    if max_connections is not None:
        os.environ["WELLOS_MAX_CONNECTIONS"] = str(max_connections)
    # Replaces this process, so that signals and the exit status are the ingest's own.
    os.execv(sys.executable, [sys.executable, "-m", "streaming"])  # noqa: S606 - our own interpreter


def _forget(spool_id: UUID) -> None:
    settings = load_settings()
    with connect(settings, autocommit=True) as connection, needs_registry():
        click.echo(str(forget(connection, spool_id, settings.make_clock().now())))
