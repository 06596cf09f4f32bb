"""From the names that people use to the registry's numbers, with a small memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.rows import scalar_row

from wellos.errors import ConfigurationError, Problem
from wellos.storage.sql import query
from wellos.validation import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from wellos.clock import Clock
    from wellos.storage.warm import PgConnection

__all__ = ["KnownTag", "KnownWell", "Names", "Scope", "unknown_name"]

_TTL_S = 30.0
"""A tag that is renamed is known by its old name for so long; a new one is looked up at once."""


@dataclass(frozen=True, slots=True)
class KnownTag:
    """A tag as the registry has it."""

    tag_id: int
    name: str
    interval_s: float
    """Expected between readings."""
    connection_id: int


@dataclass(frozen=True, slots=True)
class KnownWell:
    """A well and all its tags, in use or retired, by id."""

    tenant_id: UUID
    well_id: int
    tags: tuple[KnownTag, ...]


@dataclass(frozen=True, slots=True)
class Scope:
    """What a query is about."""

    tenant: str
    tenant_id: UUID
    well: str
    well_id: int
    tags: tuple[KnownTag, ...]
    """By id."""

    @property
    def tag_ids(self) -> list[int]:
        """The tags' numbers."""
        return [tag.tag_id for tag in self.tags]


class Names:
    """Looks wells up, and remembers them for half a minute. Threads may share it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: dict[tuple[str, str], tuple[float, KnownWell]] = {}
        self._lock = threading.Lock()

    def resolve(self, conn: PgConnection, tenant: str, well: str, tags: str | Sequence[str] | None) -> Scope:
        """Return what these names stand for; `tags` None means all of the well.

        ConfigurationError for every name that the registry does not know, with the nearest that it does.
        """
        wanted = None if tags is None else list(dict.fromkeys([tags] if isinstance(tags, str) else tags))
        if wanted is not None and not wanted:
            raise ConfigurationError([Problem("names no tag", "Name one, or None for all of the well", field="tags")])
        with self._lock:
            read_at, found = self._known.get((tenant, well), (0.0, None))
        now = self._clock.monotonic()
        if found is None or now - read_at > _TTL_S or (wanted and _unknown(found, wanted)):
            found = _look_up(conn, tenant, well)
            with self._lock:
                self._known[tenant, well] = (now, found)
        missing = _unknown(found, wanted or ())
        if missing:
            known = [tag.name for tag in found.tags]
            raise ConfigurationError(
                [
                    Problem(f"no such tag of {well}", did_you_mean(name, known), field="tags", value=name)
                    for name in missing
                ]
            )
        chosen = tuple(tag for tag in found.tags if wanted is None or tag.name in wanted)
        return Scope(tenant, found.tenant_id, well, found.well_id, chosen)


def _unknown(well: KnownWell, names: Sequence[str]) -> list[str]:
    known = {tag.name for tag in well.tags}
    return [name for name in names if name not in known]


def _look_up(conn: PgConnection, tenant: str, well: str) -> KnownWell:
    rows = conn.execute(query("query_well"), {"tenant": tenant, "well": well}).fetchall()
    if rows:
        return KnownWell(rows[0][0], rows[0][1], tuple(KnownTag(*row[2:]) for row in rows if row[2] is not None))
    with conn.cursor(row_factory=scalar_row) as cursor:
        tenants: list[str] = cursor.execute("SELECT slug FROM tenants ORDER BY slug").fetchall()
        if tenant not in tenants:
            raise ConfigurationError([unknown_name("tenant", tenant, tenants)])
        wells: list[str] = cursor.execute(query("query_well_names"), {"tenant": tenant}).fetchall()
    raise ConfigurationError([unknown_name("well", well, wells)])


def unknown_name(kind: str, word: str, known: Sequence[str]) -> Problem:
    """Return the problem of a name that the registry does not know."""
    remedy = did_you_mean(word, known) if known else f"There is none yet: add a {kind} with `wellos fleet apply`."
    return Problem(f"no such {kind}", remedy, field=kind, value=word)
