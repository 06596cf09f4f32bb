"""Arbitrary fleets for property tests."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TagEntry, TenantEntry, WellEntry
from wellos.fleet.units import QUANTITIES
from wellos.registry import Protocol
from wellos.telemetry import Metric

_names = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs")), min_size=1, max_size=8
)
_numbers = st.floats(-1e9, 1e9).map(lambda number: number + 0.0)
_positive = st.floats(1e-6, 1e6)
_secrets = st.sampled_from([{}, {"password": "${PLC_PASSWORD}"}, {"user": "ann", "password": "${P2}"}])


def _config(protocol: str) -> st.SearchStrategy[dict[str, Any]]:
    if protocol == "modbus":
        return st.fixed_dictionaries(
            {"host": st.just("rtu")}, optional={"timeout_s": _positive.filter(lambda s: s < 600)}
        )
    address = {"opcua": "opc.tcp://plc:4840", "mqtt": "mqtt://broker"}[protocol]
    extra = st.just({}) if protocol == "opcua" else st.just({"subscribe": ["a/#", "b"]})
    return st.builds(lambda one, two: {"url": address, **_identity(protocol, one), **one, **two}, _secrets, extra)


def _identity(protocol: str, credentials: dict[str, str]) -> dict[str, bool]:
    return {"anonymous": True} if protocol == "opcua" and "user" not in credentials else {}


def _address(protocol: str, index: int) -> str:
    return {"opcua": f"ns=2;s=t{index}", "modbus": f"1:holding:{index}:int16:BADC", "mqtt": f"w/{index}#/a~1b"}[
        protocol
    ]


@st.composite
def _tag(draw: st.DrawFn, well: str, name: str, metric: Metric | None, protocol: str, index: int) -> TagEntry:
    quantity = draw(st.none() | st.sampled_from(sorted(QUANTITIES)))
    low, high = sorted(draw(st.tuples(_numbers, _numbers).filter(lambda pair: pair[0] != pair[1])))
    ranged = draw(st.booleans())
    return TagEntry(
        name=name,
        well=well,
        address=_address(protocol, index),
        quantity=quantity,
        metric=metric,
        unit=None if quantity is None else draw(st.none() | st.sampled_from(QUANTITIES[quantity])),
        scale=draw(_numbers.filter(bool)),
        offset=draw(_numbers),
        deadband=draw(_positive),
        resolution=draw(st.none() | _positive),
        low=low if ranged else None,
        high=high if ranged else None,
        interval_s=draw(_positive),
        mode="poll" if protocol == "modbus" else draw(st.sampled_from(["poll", "rbe"])),
        sentinels=tuple(draw(st.lists(_numbers, max_size=2))),
    )


@st.composite
def _tenant(draw: st.DrawFn, slug: str) -> FleetTenant:
    wells = [
        WellEntry(
            name=name,
            api_number=draw(st.none() | st.just("42-329-40001")),
            lift_type=draw(st.sampled_from(["flowing", "rod_pump", "esp", "gas_lift", "plunger"])),
            route=draw(st.none() | _names),
            timezone=draw(st.sampled_from(["UTC", "America/Chicago", "America/Sao_Paulo"])),
            contract_hour=draw(st.integers(0, 23)),
        )
        for name in draw(st.lists(_names, min_size=1, max_size=3, unique=True))
    ]
    names = st.lists(_names, max_size=3, unique=True)
    metrics = st.permutations([None, None, *get_args(Metric)])
    free = [(well.name, *pair) for well in wells for pair in zip(draw(names), draw(metrics), strict=False)]
    connections = []
    for name in draw(st.lists(_names, max_size=3, unique=True)):
        protocol: Protocol = draw(st.sampled_from(get_args(Protocol)))
        config = draw(_config(protocol))
        entry = ConnectionEntry(name=name, protocol=protocol, enabled=draw(st.booleans()), config=config)
        taken, free = free[: (half := len(free) // 2 + 1)], free[half:]
        tags = tuple(draw(_tag(*which, protocol, index)) for index, which in enumerate(taken))
        connections.append(FleetConnection(entry, tags))
    return FleetTenant(TenantEntry(slug=slug, name=draw(_names)), tuple(wells), tuple(connections))


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    """Any fleet that the checks accept, in the order in which it is exported."""
    slugs = draw(st.lists(st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True), max_size=2, unique=True))
    return Fleet(tuple(draw(_tenant(slug)) for slug in sorted(slugs)))


def unordered(fleet: Fleet) -> object:
    """Return the fleet as sets, to compare whatever the order."""
    return {
        (
            tenant.entry.slug,
            tenant.entry.name,
            frozenset(tenant.wells),
            frozenset(
                (
                    item.entry.name,
                    item.entry.protocol,
                    item.entry.enabled,
                    repr(sorted(item.entry.config.items())),
                    frozenset(item.tags),
                )
                for item in tenant.connections
            ),
        )
        for tenant in fleet.tenants
    }
