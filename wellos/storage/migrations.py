"""Numbered, checksummed, transactional migrations with a ledger table, applied under an advisory lock.

`sql/migrations` holds, for each number, a neutral file `NNNN_name.sql`, or one part an engine, `NNNN_name.plain.sql`
and `NNNN_name.timescale.sql`, or all three; the neutral part runs first. A number is applied in one transaction with
its row in `schema_migrations`. An applied file must never change, and a database never changes its engine.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
from psycopg.types.json import Jsonb

from wellos.errors import ConfigurationError, Problem, WellosError
from wellos.settings import Settings
from wellos.storage.sql import query, sql_folder
from wellos.storage.warm import connect, describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from wellos.storage.warm import Engine, PgConnection, Server

__all__ = [
    "Applied",
    "Migration",
    "MigrationError",
    "Policy",
    "State",
    "load_migrations",
    "migrate",
    "policies",
    "refresh_intervals",
    "set_policies",
    "state",
]

_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)(?:\.(?P<engine>plain|timescale))?\.sql")
_LOCK = 0x77656C6C6F73
"""Key of the advisory lock: the letters of `wellos`."""
_OLDEST_POSTGRES = 150000
_SETTING = "WELLOS_DATABASE_URL"


class MigrationError(WellosError):
    """The server refused a migration; nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One number for one engine: the files to run, in order."""

    version: int
    name: str
    files: tuple[Path, ...]
    by_engine: bool
    """It has a part of its own for each engine."""

    @property
    def checksum(self) -> str:
        """SHA-256 of the texts in order; the way lines end does not count."""
        return hashlib.sha256("\0".join(self.texts).encode()).hexdigest()

    @property
    def texts(self) -> tuple[str, ...]:
        """The SQL of each file."""
        return tuple(path.read_text(encoding="utf-8") for path in self.files)

    def __str__(self) -> str:
        """The names of the files."""
        return " + ".join(path.name for path in self.files)


@dataclass(frozen=True, slots=True)
class Applied:
    """A row of the ledger."""

    version: int
    name: str
    engine: str
    checksum: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class Policy:
    """A row of `storage_policies_in_force`."""

    policy: str
    relation: str
    setting: timedelta
    by: str

    def __str__(self) -> str:
        """As `wellos migrate` prints it."""
        text = {"refresh": "refreshed every", "compress": "compressed after", "drop": "dropped after"}[self.policy]
        days = self.setting.total_seconds() / 86_400
        age = f"{days:g} days" if days >= 1 else f"{self.setting.total_seconds():g} s"
        return f"{self.relation}: {text} {age} ({self.by})"


@dataclass(frozen=True, slots=True)
class State:
    """Where a database stands."""

    server: Server
    applied: tuple[Applied, ...]
    pending: tuple[Migration, ...]


def load_migrations(engine: Engine, folder: Path | None = None) -> tuple[Migration, ...]:
    """Read the folder for one engine; ConfigurationError lists every file that breaks the numbering."""
    folder = folder or sql_folder() / "migrations"
    numbers: dict[int, dict[str, Path]] = {}
    names: dict[int, set[str]] = {}
    problems = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            remedy = "Name it NNNN_name.sql, NNNN_name.plain.sql or NNNN_name.timescale.sql"
            problems.append(Problem("not the name of a migration", remedy, file=str(path)))
            continue
        version = int(match["version"])
        names.setdefault(version, set()).add(match["name"])
        numbers.setdefault(version, {})[match["engine"] or "neutral"] = path
    for version, parts in sorted(numbers.items()):
        if len(names[version]) > 1:
            remedy = "Give one of them the next free number"
            problems.append(Problem(f"{version:04} has two names: {', '.join(sorted(names[version]))}", remedy))
        if len({"plain", "timescale"} & set(parts)) == 1:
            only = next(iter({"plain", "timescale"} & set(parts)))
            problems.append(Problem("the other engine has no part", "Write it", file=str(parts[only])))
    if problems:
        raise ConfigurationError(problems)
    return tuple(
        Migration(
            version,
            min(names[version]),
            tuple(parts[kind] for kind in ("neutral", engine) if kind in parts),
            by_engine=engine in parts,
        )
        for version, parts in sorted(numbers.items())
    )


def state(connection: PgConnection, folder: Path | None = None) -> State:
    """Compare a database with the files; changes nothing.

    Raises ConfigurationError when they contradict each other: an applied file was edited or is gone, a number below
    the newest applied one is new, the engine is not the one that made the tables, or the server is too old.
    """
    server = describe(connection)
    applied = _ledger(connection)
    if not applied and server.timescale is None and server.available:
        # what `migrate` does first, tried and undone: only the extension itself knows which edition it is
        with connection.transaction(force_rollback=True):
            _create_extension(connection)
            server = describe(connection)
    migrations = load_migrations(server.engine, folder)
    problems = [*_server_problems(server, applied), *_contradictions(applied, migrations)]
    if problems:
        raise ConfigurationError(problems)
    done = {row.version for row in applied}
    return State(server, applied, tuple(item for item in migrations if item.version not in done))


def migrate(target: Settings | PgConnection, folder: Path | None = None) -> tuple[Migration, ...]:
    """Bring a database to the newest migration and return what was applied; idempotent, safe to run twice at once.

    On a server with TimescaleDB, an empty database gets the extension first. Given settings, their ages are handed to
    the engine's policies as well.
    """
    if isinstance(target, Settings):
        with connect(target, autocommit=True) as connection:
            applied = migrate(connection, folder)
            set_policies(connection, target)
            return applied
    with _locked(target), _allowed():
        _create_extension(target)
        before = state(target, folder)
        for migration in before.pending:
            _apply(target, migration, before.server.engine)
        return before.pending


def set_policies(connection: PgConnection, settings: Settings) -> tuple[str, ...]:
    """Set when the engine compresses, drops and refreshes by itself; return what this engine does not by itself."""
    days = (settings.compress_after_days, settings.aggregate_days)
    ages = [timedelta(days=number) for number in days]
    every = Jsonb(refresh_intervals(settings))
    row = connection.execute("SELECT set_storage_policies(%s, %s, %s)", [*ages, every]).fetchone()
    return tuple(row[0]) if row else ()


def refresh_intervals(settings: Settings) -> dict[str, int]:
    """Return by aggregate how many seconds there are between two refreshes in the background."""
    return {
        "readings_1min": settings.refresh_1min_s,
        "readings_5min": settings.refresh_5min_s,
        "readings_1hour": settings.refresh_1hour_s,
        "readings_1day": settings.refresh_1day_s,
        "telemetry_hourly": settings.refresh_1hour_s,
        "telemetry_daily": settings.refresh_1day_s,
    }


def policies(connection: PgConnection) -> tuple[Policy, ...]:
    """Return what is done to which relation, how often or from which age on, and by what."""
    return tuple(Policy(*row) for row in connection.execute(query("storage_policies_in_force")))


@contextmanager
def _locked(connection: PgConnection) -> Iterator[None]:
    """Autocommit, our schema first, and the lock, for as long as the block lasts."""
    autocommit = connection.autocommit
    if not autocommit:
        connection.autocommit = True
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute("SET search_path TO public")
        yield
    finally:
        if not connection.closed:
            connection.execute("RESET search_path")
            connection.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            if not autocommit:
                connection.autocommit = False


@contextmanager
def _allowed() -> Iterator[None]:
    """Turn a missing right into the remedy."""
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "Migrate as the owner of the database, or let it GRANT CREATE ON SCHEMA public"
        problem = Problem(f"this role may not migrate: {error.diag.message_primary}", remedy, field=_SETTING)
        raise ConfigurationError([problem]) from error


def _create_extension(connection: PgConnection) -> None:
    server = describe(connection)
    if server.timescale is not None or not server.available or _ledger(connection):
        return
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except psycopg.errors.InsufficientPrivilege as error:
        remedy = "Let an administrator run CREATE EXTENSION timescaledb in this database, then migrate again"
        problem = Problem("the server has TimescaleDB but we may not create the extension", remedy, field=_SETTING)
        raise ConfigurationError([problem]) from error


def _apply(connection: PgConnection, migration: Migration, engine: Engine) -> None:
    kind = engine if migration.by_engine else "neutral"
    with connection.transaction():
        connection.execute(query("schema_migrations"))
        for path, text in zip(migration.files, migration.texts, strict=True):
            _run(connection, path, text)
        row = (migration.version, migration.name, kind, migration.checksum)
        connection.execute(query("schema_migrations_add"), row)


def _run(connection: PgConnection, path: Path, text: str) -> None:
    try:
        connection.execute(text.encode())
    except psycopg.Error as error:
        position = error.diag.statement_position
        line = f":{text.count(chr(10), 0, int(position)) + 1}" if position else ""
        raise MigrationError(f"{path}{line}: {error}. Nothing of this migration was kept.") from error


def _ledger(connection: PgConnection) -> tuple[Applied, ...]:
    found = connection.execute("SELECT to_regclass('public.schema_migrations') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        return ()
    return tuple(Applied(*row) for row in connection.execute(query("schema_migrations_list")))


def _server_problems(server: Server, applied: Sequence[Applied]) -> Iterator[Problem]:
    if server.postgres < _OLDEST_POSTGRES:
        yield Problem(f"{server} is too old", "Use PostgreSQL 15 or later", field=_SETTING)
    for row in applied:
        if row.engine not in {"neutral", server.engine}:
            remedy = "Use a new database for this engine, or give this one back the engine it was made with"
            message = f"this database was migrated as {row.engine}, and now it is {server.engine} ({server})"
            yield Problem(message, remedy, field=_SETTING)
            return


def _contradictions(applied: Sequence[Applied], migrations: Sequence[Migration]) -> Iterator[Problem]:
    files = {migration.version: migration for migration in migrations}
    newest = max((row.version for row in applied), default=0)
    done = {row.version for row in applied}
    for row in applied:
        migration = files.get(row.version)
        if migration is None:
            remedy = "The database is newer than this program: use the version of WellOS that migrated it"
            yield Problem(f"migration {row.version:04}_{row.name} was applied and there is no such file", remedy)
        elif migration.checksum != row.checksum:
            message = f"migration edited after it was applied on {row.applied_at:%Y-%m-%d %H:%M} UTC"
            remedy = "Restore the file as it was, and write the change as a new migration"
            yield Problem(message, remedy, file=str(migration))
    for migration in migrations:
        if migration.version < newest and migration.version not in done:
            remedy = f"Give it a number above {newest:04}"
            yield Problem("new migration numbered below the newest applied one", remedy, file=str(migration))
