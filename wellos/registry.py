"""Tenants, wells, connections and tags, as the ingest process and the queries see them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from wellos.errors import ConfigurationError, Problem
from wellos.protocols import CONFIGS
from wellos.storage.sql import query
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from wellos.storage.warm import PgConnection

__all__ = ["Connection", "LiftType", "Mode", "Protocol", "Tag", "check_names", "load_connections"]

Protocol = Literal["opcua", "modbus", "mqtt"]
Mode = Literal["poll", "rbe"]
LiftType = Literal["flowing", "rod_pump", "esp", "gas_lift", "plunger"]


@dataclass(frozen=True, slots=True)
class Tag:
    """One measured quantity of one well, and where a connection finds it.

    `value = raw * scale + offset`. `low` and `high` are the instrument's range in `unit`; a reading outside is BAD.
    `interval_s` is the expected time between readings (poll) or the longest silence (report by exception).
    """

    tag_id: int
    tenant_id: UUID
    well: str
    name: str
    address: str
    unit: str | None = None
    quantity: str | None = None
    """Kind of measurement (`pressure`, `temperature`, `rate`, `fraction`, `current`, `total`, ...): physical limits."""
    scale: float = 1.0
    offset: float = 0.0
    deadband: float = 0.0
    low: float | None = None
    high: float | None = None
    interval_s: float = 15.0
    mode: Mode = "poll"
    sentinels: tuple[float, ...] = ()
    resolution: float | None = None
    """Least step of the instrument in `unit`; None: not known."""


@dataclass(frozen=True, slots=True)
class Connection:
    """One device, server or broker subscription, and the tags that come over it."""

    connection_id: int
    tenant_id: UUID
    tenant: str
    name: str
    protocol: Protocol
    config: dict[str, Any] = field(repr=False)
    """Validated by the protocol's model in `wellos.protocols`; hidden in `repr` as it may hold a password."""
    tags: tuple[Tag, ...] = ()
    enabled: bool = True


def check_names(conn: PgConnection, *, tenant: str | None = None, connection: str | None = None) -> None:
    """Refuse options --tenant and --connection that name nothing in the registry; None was not given.

    ConfigurationError for a tenant that there is not, or a connection that the tenant (or any) has not.
    """
    if tenant is None and connection is None:
        return
    found = conn.execute(query("registry_names")).fetchall()
    slugs = list(dict.fromkeys(slug for slug, _ in found))
    if tenant is not None and tenant not in slugs:
        raise _unknown("tenant", tenant, slugs)
    names = list(dict.fromkeys(name for slug, name in found if name is not None and tenant in {None, slug}))
    if connection is not None and connection not in names:
        raise _unknown("connection", connection, names)


def _unknown(kind: str, word: str, known: Sequence[str]) -> ConfigurationError:
    remedy = did_you_mean(word, known) if known else f"There is none yet: add a {kind} with `wellos fleet apply`."
    return ConfigurationError([Problem(f"no such {kind}", remedy, field=f"--{kind}", value=word)])


def load_connections(
    conn: PgConnection, *, names: Sequence[str] | None = None, checked: bool = True
) -> tuple[Connection, ...]:
    """Return the enabled connections in use with their tags in use, by id; with `names`, only those.

    Every configuration is validated first: ConfigurationError lists all mistakes, and any name that is not found.
    Not so with `checked=False`, for ingest: there each adapter checks its own, and one that cannot run stops no other.
    """
    wanted = None if names is None else list(names)
    rows = conn.execute(query("registry_connections"), {"names": wanted}).fetchall()
    connections = [Connection(*row) for row in rows]
    if checked:
        _check(connections, wanted or ())
    tags: dict[int, list[Tag]] = defaultdict(list)
    found = conn.execute(query("registry_tags"), {"connections": [item.connection_id for item in connections]})
    for connection_id, *row, sentinels, resolution in found:
        tags[connection_id].append(Tag(*(*row, tuple(sentinels), resolution)))
    return tuple(replace(item, tags=tuple(tags[item.connection_id])) for item in connections)


def _check(connections: Sequence[Connection], names: Sequence[str]) -> None:
    unknown = sorted(set(names) - {item.name for item in connections})
    problems = [Problem("no such connection in use", "See `wellos fleet export`.", field=name) for name in unknown]
    for item in connections:
        try:
            CONFIGS[item.protocol].parse(item.config)
        except ConfigurationError as error:
            place = f"{item.tenant}.{item.name}.config"
            problems += [replace(problem, field=f"{place}.{problem.field}") for problem in error.problems]
    if problems:
        raise ConfigurationError(problems)
