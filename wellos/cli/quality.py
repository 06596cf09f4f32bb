"""`wellos quality`: the episodes in which data were not to be trusted, by well, tag and check."""

from __future__ import annotations

import json
from datetime import UTC
from typing import TYPE_CHECKING, Any

import click
from psycopg.rows import dict_row

from wellos.fleet.apply import needs_registry
from wellos.registry import check_names
from wellos.settings import load_settings
from wellos.storage.sql import query
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

__all__ = ["quality"]

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
_COLUMNS = ("severity", "check", "of", "started (UTC)", "lasted", "evidence")


@click.group()
def quality() -> None:
    """What the checks on the way in have found."""


@quality.command()
@click.option("--tenant", metavar="SLUG", help="Only of this tenant.")
@click.option("--well", metavar="NAME", help="Only of the well of this name.")
@click.option("--tag", metavar="NAME", help="Only of tags of this name.")
@click.option("--check", metavar="NAME", help="Only of this check, e.g. stuck.")
@click.option("--since", type=_TIME, help="Ended at or after, or open; UTC unless a zone is given.")
@click.option("--until", type=_TIME, help="Begun before; UTC unless a zone is given.")
@click.option("--open", "open_", is_flag=True, help="Only what goes on.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most episodes shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def events(*, open_: bool, limit: int, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - click's options
    """List episodes, the newest first.

    Exit status 2 when there is no such tenant or the database cannot be used.
    """
    chosen |= {name: _aware(chosen[name]) for name in ("since", "until")}
    with connect(load_settings(), autocommit=True) as conn, needs_registry():
        check_names(conn, tenant=chosen["tenant"])
        cursor = conn.cursor(row_factory=dict_row)
        found = cursor.execute(query("quality_episodes_find"), chosen | {"open": open_, "limit": limit + 1}).fetchall()
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps(shown, indent=1, default=lambda moment: moment.isoformat()))
        return
    click.echo(_table([_row(item) for item in shown]) if shown else "nothing was found that was asked for")
    if len(found) > limit:
        click.echo(f"more than {limit:,}: see --limit", err=True)


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    of = "/".join(part for part in (item["well_name"] or item["connection_name"], item["tag_name"]) if part)
    lasted = item["state"] if item["ended_at"] is None else str(item["ended_at"] - item["started_at"]).partition(".")[0]
    evidence = "  ".join(f"{name} {value}" for name, value in item["evidence"].items())
    started = f"{item['started_at'].astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    return item["severity"], item["check_name"], f"{item['tenant']}/{of}", started, lasted, evidence


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[n]) for line in lines) for n in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
