"""Time to check, apply, re-apply and export a fleet of 500 wells with 50 tags each, on WELLOS_DATABASE_URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from wellos.clock import WallClock
from wellos.fleet.apply import apply
from wellos.fleet.check import check
from wellos.fleet.export import export, render
from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TagEntry, TenantEntry, WellEntry
from wellos.registry import load_connections
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable

WELLS, TAGS = 500, 50
_Result = TypeVar("_Result")


def fleet() -> Fleet:
    """Every well has a connection of its own."""
    wells = [WellEntry(name=f"B-{number:03}", lift_type="esp") for number in range(WELLS)]
    config = {"url": "opc.tcp://127.0.0.1:4840"}
    connections = [
        FleetConnection(
            ConnectionEntry(name=f"plc-{well.name}", protocol="opcua", config=config),
            tuple(_tag(well.name, number) for number in range(TAGS)),
        )
        for well in wells
    ]
    tenant = TenantEntry(slug="benchmark", name="Benchmark")
    return Fleet((FleetTenant(tenant, tuple(wells), tuple(connections)),))


def _tag(well: str, number: int) -> TagEntry:
    address = f"ns=2;s={well}.{number}"
    return TagEntry(name=f"t{number}", well=well, address=address, unit="psi", quantity="pressure", low=0, high=5000)


def timed(what: str, action: Callable[[], _Result]) -> _Result:
    """Run it once and print the seconds it took."""
    clock = WallClock()
    begun = clock.monotonic()
    result = action()
    print(f"{what:10} {clock.monotonic() - begun:6.2f} s")
    return result


def main() -> None:
    """Print one line a step; the tenant `benchmark` is left retired of its wells."""
    content = render(fleet()).encode()
    print(f"{WELLS * TAGS:,} tags, {len(content):,} bytes")
    checked = timed("check", lambda: check(content, "fleet.yaml")).fleet
    with connect(load_settings(), autocommit=True) as connection:
        timed("apply", lambda: apply(connection, checked))
        timed("again", lambda: apply(connection, checked))
        timed("load", lambda: load_connections(connection))
        timed("export", lambda: render(export(connection, ["benchmark"])))
        timed("retire", lambda: apply(connection, Fleet((FleetTenant(checked.tenants[0].entry),))))


if __name__ == "__main__":
    main()
