"""`wellos ingest`: the ingest process in the foreground."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["ingest"]


@click.command()
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most connections that this instance claims; as WELLOS_MAX_CONNECTIONS.",
)
def ingest(max_connections: int | None) -> None:
    """Read the connections of the registry into the spool, PostgreSQL and Redis, until told to stop.

    The same as `python -m streaming`. Several instances, each with its own WELLOS_DATA_DIR, share the connections
    among them. Stops on Ctrl-C or SIGTERM within 5 seconds; what is not stored by then is in the spool and is stored
    after the next start.
    """
    if max_connections is not None:
        os.environ["WELLOS_MAX_CONNECTIONS"] = str(max_connections)
    # Replaces this process, so that signals and the exit status are the ingest's own.
    os.execv(sys.executable, [sys.executable, "-m", "streaming"])  # noqa: S606 - our own interpreter
