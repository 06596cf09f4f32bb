"""Finds the SQL files: `sql/` beside the package in a checkout, `_share/sql` inside an installed wheel."""

from __future__ import annotations

from functools import cache
from pathlib import Path

__all__ = ["query", "sql_folder"]


@cache
def sql_folder() -> Path:
    """Return the folder that holds `migrations/` and `queries/`."""
    package = Path(__file__).resolve().parents[1]
    shared = package / "_share" / "sql"
    return shared if shared.is_dir() else package.parent / "sql"


@cache
def query(name: str) -> str:
    """Return the text of `sql/queries/NAME.sql`; FileNotFoundError for a name that is not there."""
    return (sql_folder() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
