"""Time to check, apply, re-apply and export a fleet of 500 wells with 50 tags each, beside that of parsing its YAML."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import yaml

from benchmarks.report import Machine, Report, parser
from benchmarks.servers import add_database_option, database, versions
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


def fleet(wells: int) -> Fleet:
    """Every well has a connection of its own."""
    entries = [WellEntry(name=f"B-{number:03}", lift_type="esp") for number in range(wells)]
    config = {"url": "opc.tcp://127.0.0.1:4840", "anonymous": True}
    connections = [
        FleetConnection(
            ConnectionEntry(name=f"plc-{well.name}", protocol="opcua", config=config),
            tuple(_tag(well.name, number) for number in range(TAGS)),
        )
        for well in entries
    ]
    tenant = TenantEntry(slug="benchmark", name="Benchmark")
    return Fleet((FleetTenant(tenant, tuple(entries), tuple(connections)),))


def _tag(well: str, number: int) -> TagEntry:
    address = f"ns=2;s={well}.{number}"
    return TagEntry(name=f"t{number}", well=well, address=address, unit="psi", quantity="pressure", low=0, high=5000)


class _Timer:
    """Runs each step once and keeps the seconds it took."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = WallClock()

    def __call__(self, what: str, action: Callable[[], _Result]) -> _Result:
        """Run the step."""
        begun = self._clock.monotonic()
        result = action()
        self.seconds[f"{what}, s"] = self._clock.monotonic() - begun
        return result


def main(argv: list[str]) -> int:
    """Report the seconds of each step."""
    options = parser("apply_fleet", __doc__)
    add_database_option(options)
    options.add_argument("--wells", type=int, default=WELLS)
    chosen, machine, timed, limit = options.parse_args(argv), Machine.read(), _Timer(), _Timer()
    content = render(fleet(chosen.wells)).encode()
    checked = timed("check", lambda: check(content, "fleet.yaml")).fleet
    limit("parse the YAML", lambda: sum(1 for _ in yaml.parse(content, yaml.CSafeLoader)))
    with (
        database(chosen.database_url) as url,
        connect(load_settings(database_url=url), autocommit=True) as connection,
    ):
        timed("apply", lambda: apply(connection, checked))
        timed("apply again", lambda: apply(connection, checked))
        timed("load", lambda: load_connections(connection))
        timed("export", lambda: render(export(connection, ["benchmark"])))
        timed("retire", lambda: apply(connection, Fleet((FleetTenant(checked.tenants[0].entry),))))
        server = versions(url)
    figures = {"tags": float(chosen.wells * TAGS), **timed.seconds}
    ratio = limit.seconds["parse the YAML, s"] / timed.seconds["check, s"]
    Report("apply_fleet", figures, limit.seconds, ratio, (server,)).show(machine, as_json=chosen.json)
    return 0
