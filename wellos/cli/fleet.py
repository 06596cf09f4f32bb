"""`wellos fleet`: checks a fleet file, shows what it would change, applies it, and writes the registry back as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from wellos.fleet.apply import ACTIONS, KINDS, apply
from wellos.fleet.check import check_file
from wellos.fleet.export import export, render
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from wellos.errors import Problem
    from wellos.fleet.apply import Change, Outcome
    from wellos.fleet.model import Fleet

__all__ = ["fleet"]

_SIGNS = {"added": "+", "changed": "~", "retired": "-", "restored": "^"}
_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group()
def fleet() -> None:
    """Tenants, wells, connections and tags, kept in one YAML file (docs/fleet.md).

    Exit status 2 when the file has mistakes, all of which are listed with their lines, or the database cannot be used.
    """


@fleet.command()
@_FILE
def validate(file: Path) -> None:
    """Check FILE without a database."""
    counts = _checked(file).counts()
    click.echo(f"{file}: valid: {', '.join(f'{count:,} {kind}' for kind, count in counts.items())}")


@fleet.command(name="apply")
@_FILE
@click.option("--dry-run", is_flag=True, help="Say how much would change; change nothing.")
def apply_(file: Path, *, dry_run: bool) -> None:
    """Make the registry hold what FILE holds, for the tenants named in it.

    All or nothing, safe to repeat. What FILE no longer holds is retired: its readings stay, and it returns under its
    old id. A running ingest takes the change over at once.
    """
    outcome = _apply(_checked(file), dry_run=dry_run)
    for line in _table(outcome):
        click.echo(line)
    if dry_run:
        click.echo("dry run: nothing was written")


@fleet.command()
@_FILE
def diff(file: Path) -> None:
    """Show each thing that applying FILE would alter, with old and new values."""
    outcome = _apply(_checked(file), dry_run=True)
    for change in outcome.changes:
        click.echo(_line(change))
    if not outcome.changes:
        click.echo(f"the registry is as {file} has it")


@fleet.command(name="export")
@click.option("--tenant", "tenants", multiple=True, metavar="SLUG", help="Only this tenant; may be repeated.")
def export_(tenants: tuple[str, ...]) -> None:
    """Write the registry to standard output as a fleet file, without passwords."""
    with connect(load_settings()) as connection:
        text = render(export(connection, tenants or None))
    click.echo(text, nl=False)


def _checked(file: Path) -> Fleet:
    checked = check_file(file)
    _warn(checked.warnings)
    return checked.fleet


def _warn(warnings: Sequence[Problem]) -> None:
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def _apply(checked: Fleet, *, dry_run: bool) -> Outcome:
    with connect(load_settings()) as connection:
        return apply(connection, checked, dry_run=dry_run)


def _table(outcome: Outcome) -> Iterator[str]:
    yield f"{'':12}" + "".join(f"{action:>11}" for action in ACTIONS)
    for kind in KINDS:
        yield f"{kind + 's':12}" + "".join(f"{outcome.counts[kind][action]:>11,}" for action in ACTIONS)


def _line(change: Change) -> str:
    where = change.kind if change.kind == "tenant" else f"{change.kind} {change.tenant}"
    fields = (f"{name} {_value(change.old[name])} -> {_value(change.new[name])}" for name in change.new)
    return f"{_SIGNS[change.action]} {where} {change.name}: {', '.join([change.action, *fields])}"


def _value(value: object) -> str:
    return "none" if value is None else str(value)
