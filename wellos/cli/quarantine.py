"""`wellos quarantine`: look at what could not be stored, store it after all, export it, or drop it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wellos.errors import ConfigurationError, Problem
from wellos.fleet.apply import needs_registry
from wellos.quarantine import Filter, Item, decode, delete, export, find, get, operator, originals
from wellos.quarantine_retry import retry
from wellos.registry import check_names
from wellos.settings import Settings, load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from wellos.quarantine_retry import Retried
    from wellos.storage.warm import PgConnection

__all__ = ["quarantine"]

_TIME = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"])
_IDS = click.argument("ids", nargs=-1, type=click.IntRange(min=1), metavar="[ID]...")
_COLUMNS = ("id", "received", "connection", "reason", "source", "bytes", "state", "detail")
_WIDEST = 60


def _filters(command: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option("--until", type=_TIME, help="Received before; UTC unless a zone is given."),
        click.option("--since", type=_TIME, help="Received at or after; UTC unless a zone is given."),
        click.option("--reason", help="Only of this reason, e.g. unknown_tag."),
        click.option("--connection", help="Only of the connection of this name."),
        click.option("--tenant", metavar="SLUG", help="Only of this tenant."),
    ):
        command = option(command)
    return command


@click.group()
def quarantine() -> None:
    """What was received and could not be stored, kept whole with its reason.

    Exit status 2 when an ID, a tenant or a connection is not there or the database cannot be used.
    """


@quarantine.command(name="list")
@_filters
@click.option("--all", "resolved", is_flag=True, help="Also what was retried or deleted.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="Most items shown.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def list_(*, limit: int, as_json: bool, **chosen: Any) -> None:  # noqa: ANN401 - click's options
    """List items, the newest first."""
    with _database() as (conn, _):
        found = _find(conn, chosen, limit + 1)
    shown = found[:limit]
    if as_json:
        click.echo(json.dumps([item.as_dict() for item in shown], indent=1))
        return
    click.echo(_table(shown) if shown else "nothing is in quarantine that was asked for")
    if len(found) > limit:
        click.echo(f"more than {limit:,}: see --limit", err=True)


@quarantine.command()
@click.argument("number", type=click.IntRange(min=1), metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def show(number: int, *, as_json: bool) -> None:
    """Show one item whole, its original decoded as far as it can be."""
    with _database() as (conn, _):
        (item,) = get(conn, [number])
        original = originals(conn, [number])[number]
    decoded = decode(original, item.source)
    if as_json:
        raw = None if original is None else original.hex()
        click.echo(json.dumps(item.as_dict() | {"original_hex": raw, "decoded": decoded}, indent=1))
        return
    fields = {name: value for name, value in item.as_dict().items() if value is not None}
    for name, value in fields.items():
        click.echo(f"{name:18}{value}")
    content = decoded.get("content", "")
    if isinstance(content, dict):
        content = json.dumps(content, indent=1)
    click.echo(f"\n{decoded['kind']}\n{content}")


@quarantine.command(name="retry")
@_IDS
@_filters
@click.option("--dry-run", is_flag=True, help="Say what would become of them; change nothing.")
def retry_(ids: tuple[int, ...], *, dry_run: bool, **chosen: Any) -> None:  # noqa: ANN401 - click's options
    """Store what can be stored now: the items named, or all unresolved ones that the options name.

    Only what ingest had decoded already can be: a reading of a tag that is now in the registry, of a time that is no
    longer in the future, one that the database refused, one of a stale owner (fenced). Exit status 1 when some stay.
    """
    with _database() as (conn, settings):
        latest = settings.make_clock().micros() + round(settings.future_tolerance_s * 1e6)
        done = retry(conn, _chosen(conn, ids, chosen), operator(), latest, dry_run=dry_run)
    _report(done)
    if dry_run:
        click.echo("dry run: nothing was written")
    sys.exit(1 if any(one.outcome is None for one in done) else 0)


@quarantine.command(name="export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_IDS
@_filters
@click.option("--all", "resolved", is_flag=True, help="Also what was retried or deleted.")
def export_(file: Path, ids: tuple[int, ...], **chosen: Any) -> None:  # noqa: ANN401 - click's options
    """Write items with their originals to FILE: CSV if its name ends in .csv, else JSON lines."""
    with _database() as (conn, _):
        found = get(conn, ids) if ids else _find(conn, chosen)
        try:
            export(conn, found, file)
        except OSError as error:
            problem = Problem(f"cannot be written: {error.strerror}", "Name another file", file=str(file))
            raise ConfigurationError([problem]) from error
    click.echo(f"{file}: {len(found):,} items")


@quarantine.command(name="delete")
@_IDS
@_filters
@click.option("--why", required=True, help="Kept with the item.")
@click.option("--yes", is_flag=True, help="Do it: the originals cannot be brought back.")
def delete_(ids: tuple[int, ...], *, why: str, yes: bool, **chosen: Any) -> None:  # noqa: ANN401 - click's options
    """Drop the originals of items for good; who did it, when and why stays, and the items still count."""
    if not why.strip():
        raise ConfigurationError([Problem("is empty", "Say why these are dropped", field="--why")])
    with _database() as (conn, _):
        chosen_ids = _chosen(conn, ids, chosen)
        if not yes:
            problem = Problem(f"{len(chosen_ids):,} originals would be lost for good", "Add --yes", field="--yes")
            raise ConfigurationError([problem])
        gone = delete(conn, chosen_ids, operator(), why.strip())
    click.echo(f"{gone:,} deleted, {len(chosen_ids) - gone:,} were resolved already")


@contextmanager
def _database() -> Iterator[tuple[PgConnection, Settings]]:
    settings = load_settings()
    with connect(settings, autocommit=True) as conn, needs_registry():
        yield conn, settings


def _find(conn: PgConnection, chosen: dict[str, Any], limit: int | None = None) -> list[Item]:
    check_names(conn, tenant=chosen.get("tenant"), connection=chosen.get("connection"))
    return find(conn, Filter(**chosen), limit)


def _chosen(conn: PgConnection, ids: Sequence[int], chosen: dict[str, Any]) -> list[int]:
    """Return the ids that a command that changes something is about; it never means everything by silence."""
    named = {name: value for name, value in chosen.items() if value is not None}
    if ids and named:
        problem = Problem("IDs and options that choose exclude each other", "Give one or the other", field="ID")
        raise ConfigurationError([problem])
    if ids:
        return [item.quarantine_id for item in get(conn, ids)]
    if not named:
        remedy = "Name IDs, or choose by --tenant, --connection, --reason, --since or --until"
        raise ConfigurationError([Problem("nothing was chosen", remedy, field="ID")])
    return [item.quarantine_id for item in _find(conn, named)]


def _report(done: Sequence[Retried]) -> None:
    counts = Counter(one.outcome for one in done if one.outcome)
    click.echo(", ".join(f"{count:,} {word}" for word, count in sorted(counts.items())) or "nothing was stored")
    for why, count in Counter(one.why for one in done if one.outcome is None).most_common():
        ids = [one.quarantine_id for one in done if one.why == why and one.outcome is None]
        some = ", ".join(map(str, ids[:5])) + (", ..." if count > 5 else "")  # noqa: PLR2004 - as many as fit a line
        click.echo(f"{count:,} stay ({some}): {why}")


def _table(items: Sequence[Item]) -> str:
    rows = [_COLUMNS, *map(_row, items)]
    widths = [min(_WIDEST, max(len(row[n]) for row in rows)) for n in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell[:_WIDEST].ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(item: Item) -> tuple[str, ...]:
    name = f"{item.tenant}.{item.connection}" if item.connection else f"#{item.connection_id}"
    size = "" if item.bytes is None else f"{item.bytes:,}"
    when = f"{item.received_at:%Y-%m-%d %H:%M:%S}"
    source, detail = (" ".join(text.split()) for text in (item.source, item.detail))
    return (str(item.quarantine_id), when, name, item.reason, source, size, item.state, detail)
