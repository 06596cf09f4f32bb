"""`wellos ingest`: the ingest process in the foreground."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["ingest"]


@click.command()
def ingest() -> None:
    """Read every connection of the registry into the spool, PostgreSQL and Redis, until told to stop.

    The same as `python -m streaming`. Stops on Ctrl-C or SIGTERM within 5 seconds; what is not stored by then is in
    the spool and is stored after the next start.
    """
    # Replaces this process, so that signals and the exit status are the ingest's own.
    os.execv(sys.executable, [sys.executable, "-m", "streaming"])  # noqa: S606 - our own interpreter
