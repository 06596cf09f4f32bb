"""`wellos modbus`: turns the register map of a device into the connection that polls it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import click

from wellos.fleet.check import check
from wellos.fleet.export import render
from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TenantEntry, WellEntry
from wellos.fleet.register_map import read_register_map
from wellos.registry import LiftType

__all__ = ["modbus"]

_HEAD = """\
# Written from {file} by `wellos modbus import`. It is a fragment: copy its connection, and its well if that is new,
# into the fleet file of the tenant. Applied alone it would retire everything else that the tenant has.
"""


@click.group()
def modbus() -> None:
    """Modbus devices (docs/adapters.md)."""


@modbus.command(name="import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--host", required=True, help="Host name or address of the device or gateway.")
@click.option("--tenant", required=True, metavar="SLUG", help="Tenant of the well.")
@click.option("--well", required=True, help="Well that the tags belong to.")
@click.option("--lift-type", required=True, type=click.Choice(get_args(LiftType)), help="How the well is lifted.")
@click.option("--device", help="Device to take, of a map of several.")
@click.option("--name", help="Name of the connection; unset: the device's, or the file's.")
@click.option("--unit", default=1, show_default=True, type=click.IntRange(0, 255), help="Modbus unit of the device.")
@click.option("--port", default=502, show_default=True, type=click.IntRange(1, 65535))
@click.option("--framing", default="tcp", show_default=True, type=click.Choice(["tcp", "rtu"]))
@click.option("--interval", default=15.0, show_default=True, help="Seconds between two polls.")
@click.option("--strings", is_flag=True, help="Take registers of text too; only text that is a number is a reading.")
def import_(  # noqa: PLR0913 - one argument an option
    file: Path,
    *,
    host: str,
    tenant: str,
    well: str,
    lift_type: LiftType,
    device: str | None,
    name: str | None,
    unit: int,
    port: int,
    framing: str,
    interval: float,
    strings: bool,
) -> None:
    """Write the register map FILE (CSV, JSON or Parquet) to standard output as a fleet file."""
    tags = read_register_map(file, device).tags(well, unit, interval, strings=strings)
    config = {"host": host, "port": port, "framing": framing}
    # Checked as a whole below, where every mistake is told with its field.
    entry = ConnectionEntry.model_construct(
        name=name or device or file.stem, protocol="modbus", config=config, enabled=True
    )
    wells = (WellEntry.model_construct(name=well, lift_type=lift_type),)
    owner = TenantEntry.model_construct(slug=tenant, name=tenant)
    text = _HEAD.format(file=file.name) + render(Fleet((FleetTenant(owner, wells, (FleetConnection(entry, tags),)),)))
    checked = check(text.encode(), "the fragment")
    for warning in checked.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(text, nl=False)
