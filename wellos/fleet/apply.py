"""Applies a checked fleet to the registry in one transaction, by sets: staged, planned, carried out."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import psycopg
from psycopg.types.json import Jsonb

from wellos.errors import ConfigurationError, Problem
from wellos.storage.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wellos.fleet.model import Fleet
    from wellos.storage.warm import PgConnection

__all__ = ["ACTIONS", "CHANNEL", "KINDS", "Action", "Change", "Kind", "Outcome", "apply", "needs_registry"]

Kind = Literal["tenant", "well", "connection", "tag"]
Action = Literal["added", "changed", "unchanged", "retired", "restored"]
KINDS: tuple[Kind, ...] = ("tenant", "well", "connection", "tag")
ACTIONS: tuple[Action, ...] = ("added", "changed", "unchanged", "retired", "restored")

CHANNEL = "wellos_registry"
_IDS_PER_MESSAGE = 700
"""A notification holds less than 8,000 bytes; an id of ten digits and its comma take twelve."""

_TENANT = ("slug", "name")
_WELL = ("slug", "name", "api_number", "lift_type", "route", "timezone", "contract_hour")
_CONNECTION = ("slug", "name", "protocol", "enabled", "config")
_TAG_FIELDS = (
    *("name", "well", "address", "unit", "quantity", "metric", "scale", "offset", "deadband"),
    *("resolution", "low", "high", "interval_s", "mode", "sentinels"),
)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not as the file has it; `old` and `new` hold the fields that differ, `***` for a password."""

    kind: Kind
    action: Action
    tenant: str
    name: str
    """A tag's is `WELL.TAG`."""
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was done, or with `dry_run` would be."""

    counts: Mapping[Kind, Mapping[Action, int]]
    changes: tuple[Change, ...]
    connections: tuple[int, ...]
    """Ids of the connections that ingest was told to read anew; empty with `dry_run`."""


def apply(connection: PgConnection, fleet: Fleet, *, dry_run: bool = False) -> Outcome:
    """Make the registry hold what the file holds, for the tenants named in it; all or nothing, one at a time.

    What is gone from the file is retired and comes back under its old id when it returns. Ingest is told over
    `NOTIFY wellos_registry` with a JSON list of connection ids (several notifications when it is long).
    """
    ids: list[int] = []
    with needs_registry(), connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (CHANNEL,))
        connection.execute(query("registry_stage"))
        for table, columns, rows in _rows(fleet):
            _copy(connection, table, columns, rows)
        connection.execute(query("registry_plan"))
        outcome = _outcome(connection)
        if dry_run:
            raise psycopg.Rollback
        connection.execute(query("registry_apply"))
        ids = [row[0] for row in connection.execute(query("registry_plan_connections"))]
        for start in range(0, len(ids), _IDS_PER_MESSAGE):
            message = json.dumps(ids[start : start + _IDS_PER_MESSAGE], separators=(",", ":"))
            connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, message))
        # Now, and not when the transaction ends: it may be the caller's, who may apply again.
        connection.execute("DROP TABLE fleet_tenants, fleet_wells, fleet_connections, fleet_tags, fleet_plan")
    return replace(outcome, connections=tuple(ids))


@contextmanager
def needs_registry() -> Iterator[None]:
    """Turn a missing table into the remedy."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        problem = Problem("the database has no registry yet", "Run `wellos migrate` first", field="WELLOS_DATABASE_URL")
        raise ConfigurationError([problem]) from error


def _rows(fleet: Fleet) -> Iterator[tuple[str, Sequence[str], Iterable[Sequence[Any]]]]:
    connections = [(tenant.entry.slug, item) for tenant in fleet.tenants for item in tenant.connections]
    yield "fleet_tenants", _TENANT, [(tenant.entry.slug, tenant.entry.name) for tenant in fleet.tenants]
    wells = [(tenant.entry.slug, well) for tenant in fleet.tenants for well in tenant.wells]
    yield "fleet_wells", _WELL, [(slug, *(getattr(well, name) for name in _WELL[1:])) for slug, well in wells]
    entries = [(slug, item.entry) for slug, item in connections]
    yield (
        "fleet_connections",
        _CONNECTION,
        [(slug, entry.name, entry.protocol, entry.enabled, Jsonb(entry.config)) for slug, entry in entries],
    )
    tags = ((slug, item.entry.name, tag) for slug, item in connections for tag in item.tags)
    fields = [name for name in _TAG_FIELDS if name != "sentinels"]
    yield (
        "fleet_tags",
        ("slug", "connection", *fields, "sentinels"),
        ((slug, name, *(getattr(tag, key) for key in fields), list(tag.sentinels)) for slug, name, tag in tags),
    )


def _copy(connection: PgConnection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    names = psycopg.sql.SQL(", ").join(map(psycopg.sql.Identifier, columns))
    statement = psycopg.sql.SQL("COPY {} ({}) FROM STDIN").format(psycopg.sql.Identifier(table), names)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _outcome(connection: PgConnection) -> Outcome:
    counts: dict[Kind, dict[Action, int]] = {kind: dict.fromkeys(ACTIONS, 0) for kind in KINDS}
    for kind, action, count in connection.execute(query("registry_plan_counts")):
        counts[kind][action] = count
    changes = [_change(*row) for row in connection.execute(query("registry_plan_changes"))]
    return Outcome(counts, tuple(changes), ())


def _change(
    kind: Kind,
    action: Action,
    slug: str,
    well: str | None,
    name: str,
    old: dict[str, Any] | None,
    new: dict[str, Any] | None,
) -> Change:
    full = f"{well}.{name}" if well is not None else slug if kind == "tenant" else name
    if action not in ("changed", "restored"):
        return Change(kind, action, slug, full)
    before, after = _flat(old or {}), _flat(new or {})
    differ = [key for key in sorted(before.keys() | after.keys()) if before.get(key) != after.get(key)]
    return Change(kind, action, slug, full, _shown(before, differ), _shown(after, differ))


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    config = values.get("config") or {}
    return {
        **{key: value for key, value in values.items() if key != "config"},
        **{f"config.{key}": value for key, value in config.items()},
    }


def _shown(values: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: "***" if key == "config.password" and values.get(key) else values.get(key) for key in keys}
