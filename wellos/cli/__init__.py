"""The `wellos` command: one module a subcommand, imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import cast

import click

from wellos.errors import WellosError

__all__ = ["main"]

COMMANDS = {
    "up": "wellos.cli.up:up",
    "down": "wellos.cli.up:down",
    "status": "wellos.cli.status:status",
    "health": "wellos.cli.health:health",
    "migrate": "wellos.cli.migrate:migrate",
    "tiers": "wellos.cli.tiers:tiers",
    "fleet": "wellos.cli.fleet:fleet",
    "modbus": "wellos.cli.modbus:modbus",
    "simulate": "wellos.cli.simulate:simulate",
    "ingest": "wellos.cli.ingest:ingest",
    "opcua": "wellos.cli.opcua:opcua",
    "audit": "wellos.cli.audit:audit_command",
    "archive": "wellos.cli.archive:archive",
    "drop": "wellos.cli.drop:drop",
    "restore": "wellos.cli.restore:restore",
    "quarantine": "wellos.cli.quarantine:quarantine",
    "quality": "wellos.cli.quality:quality",
    "readings": "wellos.cli.readings:readings",
    "settings": "wellos.cli.settings:settings",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - same
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        return cast("click.Command", getattr(import_module(module), name))


@click.command(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wellos", prog_name="wellos")
def cli() -> None:
    """Data platform for oil and gas wells: ingest, keep, check and show every reading."""


def main() -> None:
    """Run the command; an error of ours is one clear message on standard error and its exit status."""
    try:
        cli()
    except WellosError as error:
        click.echo(f"wellos: {error}", err=True)
        sys.exit(error.exit_status)
