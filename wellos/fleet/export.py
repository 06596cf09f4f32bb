"""Reads the registry back into a fleet file, without any password."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from wellos.errors import ConfigurationError, Problem
from wellos.fleet.apply import CHANNEL, needs_registry
from wellos.fleet.model import ConnectionEntry, Fleet, FleetConnection, FleetTenant, TagEntry, TenantEntry, WellEntry
from wellos.fleet.model import written as fields_of
from wellos.protocols.config import environment_name
from wellos.storage.sql import query
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from wellos.storage.warm import PgConnection

__all__ = ["export", "render"]

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_RESERVED = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


def export(connection: PgConnection, tenants: Sequence[str] | None = None) -> Fleet:
    """Return what is in use in the registry, of these tenants or of all; ConfigurationError names an unknown one."""
    with needs_registry(), connection.transaction():
        # No apply may fall between the queries.
        connection.execute("SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))", (CHANNEL,))
        found = connection.execute("SELECT slug, name FROM tenants WHERE retired_at IS NULL ORDER BY slug").fetchall()
        slugs = [slug for slug, _ in found]
        unknown = [slug for slug in tenants or () if slug not in slugs]
        if unknown:
            raise ConfigurationError([Problem(f"no tenant {slug}", did_you_mean(slug, slugs)) for slug in unknown])
        wanted = {"tenants": None if tenants is None else list(tenants)}
        wells: dict[str, list[WellEntry]] = defaultdict(list)
        for slug, *row in connection.execute(query("registry_export_wells"), wanted):
            wells[slug].append(_entry(WellEntry, row))
        tags: dict[tuple[str, str], list[TagEntry]] = defaultdict(list)
        for slug, name, *row in connection.execute(query("registry_export_tags"), wanted):
            tags[slug, name].append(_entry(TagEntry, [*row[:-1], tuple(row[-1])]))
        connections: dict[str, list[FleetConnection]] = defaultdict(list)
        for slug, *row in connection.execute(query("registry_export_connections"), wanted):
            entry = _entry(ConnectionEntry, row)
            connections[slug].append(FleetConnection(entry, tuple(tags[slug, entry.name])))
    chosen = [(slug, name) for slug, name in found if tenants is None or slug in tenants]
    return Fleet(
        tuple(
            FleetTenant(TenantEntry(slug=slug, name=name), tuple(wells[slug]), tuple(connections[slug]))
            for slug, name in chosen
        )
    )


def render(fleet: Fleet) -> str:
    """Return the YAML text of a fleet; a password in clear is replaced by a reference, listed at the top."""
    body: list[str] = []
    variables: list[str] = []
    for tenant in fleet.tenants:
        body += ["", *_block(fields_of(tenant.entry), "  - ", "    ")]
        body.append("    wells:" if tenant.wells else "    wells: []")
        body += [f"      - {_flow(fields_of(well))}" for well in tenant.wells]
        body.append("    connections:" if tenant.connections else "    connections: []")
        for item in tenant.connections:
            fields = fields_of(item.entry)
            fields["config"] = _without_password(tenant.entry.slug, item.entry, variables)
            body += _block(fields, "      - ", "        ")
            body.append("        tags:" if item.tags else "        tags: []")
            body += [f"          - {_flow(fields_of(tag))}" for tag in item.tags]
    head = [f"# Set {name}: the password in the registry is in clear text and is not shown." for name in variables]
    tenants = ["tenants:", *body] if fleet.tenants else ["tenants: []"]
    return "\n".join([*head, "version: 1", *tenants, ""])


def _without_password(slug: str, entry: ConnectionEntry, variables: list[str]) -> dict[str, Any]:
    password = entry.config.get("password")
    if password is None or environment_name(password) is not None:
        return entry.config
    name = re.sub(r"[^A-Z0-9]+", "_", f"{slug}_{entry.name}_PASSWORD".upper())
    variables.append(name)
    return {**entry.config, "password": f"${{{name}}}"}


def _entry(model: type[Any], row: Iterable[Any]) -> Any:  # noqa: ANN401 - the model given
    # Not validated again: what is stored must come out even if a later version would refuse it.
    return model.model_construct(**dict(zip(model.model_fields, row, strict=True)))


def _block(fields: Mapping[str, Any], first: str, rest: str) -> Iterator[str]:
    for index, (key, value) in enumerate(fields.items()):
        yield f"{rest if index else first}{key}: {_flow(value)}"


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(str(key))}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str):
        return _text(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value).removesuffix(".0")


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.casefold() not in _RESERVED:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if ord(letter) <= 0xFFFF else f"\\U{ord(letter):08x}"  # noqa: PLR2004 - the BMP
