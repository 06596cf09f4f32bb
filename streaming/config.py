"""What is kept beside the spool for a start without the database: registry, leases, when each peer was last heard."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import structlog

from wellos.files import replace_file
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

__all__ = ["keep", "load_snapshot", "read_heard", "read_leases", "save_snapshot", "write_heard", "write_leases"]

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


def keep(write: Callable[[Path, _T], None], folder: Path, what: _T) -> None:
    """Write one of these files; a full disk must stop neither the drain nor the goodbye."""
    try:
        write(folder, what)
    except OSError as error:
        log.warning("a file beside the spool could not be written", reason=str(error))


def save_snapshot(folder: Path, connections: Sequence[Connection]) -> None:
    """Keep a copy of what the registry said, readable by this user alone."""
    content = [asdict(connection) for connection in connections]
    replace_file(folder / "registry.json", json.dumps(content, default=str))


def load_snapshot(folder: Path) -> tuple[Connection, ...] | None:
    """Return the last copy, None where there is none."""
    return _read(folder / "registry.json", lambda content: tuple(_connection(item) for item in content))


def write_heard(folder: Path, heard: Mapping[int, int]) -> None:
    """Keep when each connection's peer was last heard, all of it durable: the next process tells the gap from there."""
    replace_file(folder / "heard.json", json.dumps(dict(heard)))


def read_heard(folder: Path) -> dict[int, int]:
    """Return when each connection's peer was last heard, microseconds of platform time."""
    return _read(folder / "heard.json", _numbers) or {}


def write_leases(folder: Path, held: Mapping[int, int]) -> None:
    """Keep which connections are ours, with their terms: what a process that starts without a database runs."""
    replace_file(folder / "leases.json", json.dumps(dict(held)))


def read_leases(folder: Path) -> dict[int, int]:
    """Return the connections that were ours last, with their terms."""
    return _read(folder / "leases.json", _numbers) or {}


def _read(path: Path, parse: Callable[[Any], _T]) -> _T | None:
    """Return what a file holds; one that holds something else is set aside, and ingest goes on without it."""
    if not path.exists():
        return None
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        aside = path.with_suffix(".unreadable")
        path.replace(aside)
        log.warning("a file beside the spool cannot be read and was set aside", file=str(aside), reason=str(error))
        return None


def _numbers(content: dict[str, int]) -> dict[int, int]:
    return {int(key): int(value) for key, value in content.items()}


def _connection(item: dict[str, Any]) -> Connection:
    tags = tuple(
        Tag(**(tag | {"tenant_id": UUID(tag["tenant_id"]), "sentinels": tuple(tag["sentinels"])}))
        for tag in item["tags"]
    )
    return Connection(**(item | {"tenant_id": UUID(item["tenant_id"]), "tags": tags}))
