"""`wellos readings`: readings that come by file."""

from __future__ import annotations

import os
import sys

import click

__all__ = ["readings"]


@click.group()
def readings() -> None:
    """Readings that come by file instead of over the wire."""


@readings.command(
    name="import",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
    short_help="Bring another system's past in from CSV or Parquet.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def import_(arguments: tuple[str, ...]) -> None:
    """Bring another system's past in from CSV or Parquet."""
    # Replaces this process: the checks and the sink are the ingest's, which this library does not know.
    os.execv(sys.executable, [sys.executable, "-m", "streaming.importing", *arguments])  # noqa: S606 - our own
