"""Which connections to run: from the registry, and from the copy kept beside the spool while the database is away."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import UUID

from wellos.files import replace_file
from wellos.registry import Connection, Tag

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["load_snapshot", "read_heard", "save_snapshot", "write_heard"]


def save_snapshot(folder: Path, connections: Sequence[Connection]) -> None:
    """Keep a copy of what the registry said, readable by this user alone."""
    content = [asdict(connection) for connection in connections]
    replace_file(folder / "registry.json", json.dumps(content, default=str))


def load_snapshot(folder: Path) -> tuple[Connection, ...] | None:
    """Return the last copy, None where there is none."""
    path = folder / "registry.json"
    if not path.exists():
        return None
    return tuple(_connection(item) for item in json.loads(path.read_text(encoding="utf-8")))


def write_heard(folder: Path, heard: dict[int, int]) -> None:
    """Keep when each connection's peer was last heard, all of it durable: the next process tells the gap from there."""
    replace_file(folder / "heard.json", json.dumps(heard))


def read_heard(folder: Path) -> dict[int, int]:
    """Return when each connection's peer was last heard, microseconds of platform time."""
    path = folder / "heard.json"
    if not path.exists():
        return {}
    return {int(key): int(value) for key, value in json.loads(path.read_text(encoding="utf-8")).items()}


def _connection(item: dict[str, Any]) -> Connection:
    tags = tuple(
        Tag(**(tag | {"tenant_id": UUID(tag["tenant_id"]), "sentinels": tuple(tag["sentinels"])}))
        for tag in item["tags"]
    )
    return Connection(**(item | {"tenant_id": UUID(item["tenant_id"]), "tags": tags}))
