"""`wellos archive`: bring days of readings into the cold tier and prove them, or prove again what is there."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from wellos.archive.ranges import ArchiveFailuresError, Failure, archive_days, due
from wellos.archive.recheck import RecheckError, recheck
from wellos.errors import ConfigurationError, Problem
from wellos.fleet.apply import needs_registry
from wellos.registry import check_names
from wellos.settings import load_settings
from wellos.storage.cold.opening import open_cold
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date, datetime

    from wellos.archive.archiving import Archived
    from wellos.archive.receipts import Pending
    from wellos.archive.recheck import Checked
    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore

__all__ = ["archive"]

_NOTHING = {
    "archived": "nothing to be archived",
    "would be archived": "nothing would be archived",
    "verified": "nothing to be verified",
}
_DAY = click.DateTime(["%Y-%m-%d"])


@click.command()
@click.option("--tenant", metavar="SLUG", multiple=True, help="Only this tenant; may be given several times.")
@click.option("--from", "since", type=_DAY, metavar="DAY", help="First UTC day, e.g. 2026-11-01.")
@click.option("--to", "until", type=_DAY, metavar="DAY", help="Last UTC day; it has to have ended.")
@click.option("--dry-run", is_flag=True, help="Say what would be archived; change nothing.")
@click.option("--force", is_flag=True, help="Also days that are archived and did not change since.")
@click.option("--verify", is_flag=True, help="Archive nothing new: prove again the copies that are there.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def archive(
    *,
    tenant: tuple[str, ...],
    since: datetime | None,
    until: datetime | None,
    dry_run: bool,
    force: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Copy days of readings into the archive, and prove that each copy equals the database, value by value.

    Without --to, up to the last day that has been over for WELLOS_ARCHIVE_AFTER_DAYS. A day that is archived and did
    not change since is left alone, so it can be run again at any time, also after it was cut off. Nothing is dropped.

    With --verify every copy that has a receipt is added up again by the store itself. One that is not what was proven
    is put aside and its day archived anew; when that day has left the database, it is an error that names the copy.

    Exit status 0 when all is proven; 1 when a copy differs or a day could not be archived (the others were); 2 for
    wrong input or a server that cannot be used.
    """
    if verify and (force or dry_run):
        raise ConfigurationError(
            [Problem("goes with neither --force nor --dry-run", "Leave one out", field="--verify")]
        )
    settings = load_settings()
    chosen: dict[str, Any] = {
        "tenants": tenant or None,
        "since": since.date() if since else None,
        "until": until.date() if until else None,
    }
    with _store(settings) as store:
        if verify:
            _verify(settings, store, chosen, as_json=as_json)
        else:
            _archive(settings, store, chosen, force=force, dry_run=dry_run, as_json=as_json)


@contextmanager
def _store(settings: Settings) -> Iterator[ColdStore]:
    store = open_cold(settings)
    try:
        with needs_registry():
            yield store
    finally:
        store.close()


def _archive(
    settings: Settings, store: ColdStore, chosen: dict[str, Any], *, force: bool, dry_run: bool, as_json: bool
) -> None:
    clock = settings.make_clock()
    with connect(settings, autocommit=True) as conn:
        asked = due(conn, settings, store, clock, force=force, **chosen)
    if dry_run:
        _show(as_json, [_waiting(one) for one in asked], [], "would be archived")
        return
    failures: Sequence[Failure] = ()
    with _progress(len(asked), "archiving") as step:
        try:
            summary = archive_days(
                settings, store, asked, clock=clock, force=force, progress=lambda one: step(one.tenant, one.day)
            )
        except ArchiveFailuresError as error:
            summary, failures = error.summary, error.summary.failures
    rows = [*map(_done, summary.done), *map(_failed, failures)]
    _show(as_json, rows, [f"FAILED  {one}" for one in failures], "archived")


def _verify(settings: Settings, store: ColdStore, chosen: dict[str, Any], *, as_json: bool) -> None:
    with connect(settings, autocommit=True) as conn:
        for slug in chosen["tenants"] or ():
            check_names(conn, tenant=slug)
    problems: list[str] = []
    with _progress(None, "verifying") as step:
        try:
            checked: Sequence[Checked] = recheck(
                settings, store, progress=lambda total, one: step(one.tenant, one.day, total), **chosen
            )
        except RecheckError as error:
            checked = error.checked
            problems = [f"FAILED  {line}" for line in str(error).splitlines()]
    rows = [
        {
            "tenant": one.tenant,
            "day": str(one.day),
            "outcome": one.outcome,
            "location": one.location,
            "detail": one.detail,
        }
        for one in checked
    ]
    _show(as_json, rows, problems, "verified")


def _waiting(one: Pending) -> dict[str, Any]:
    return {"tenant": one.tenant, "day": str(one.day), "reason": one.reason, "failed_attempts": one.failed}


def _done(one: Archived) -> dict[str, Any]:
    receipt = one.receipt
    return {
        "tenant": receipt.tenant,
        "day": str(receipt.day),
        "outcome": one.outcome,
        "rows": receipt.rows,
        "bytes": receipt.bytes,
        "seconds": round(receipt.duration_s, 2),
        "location": receipt.location,
    }


def _failed(one: Failure) -> dict[str, Any]:
    return {"tenant": one.tenant, "day": str(one.day), "outcome": "failed", "detail": str(one.error)}


def _show(as_json: bool, rows: Sequence[dict[str, Any]], problems: Sequence[str], verb: str) -> None:
    """Print what was done, on standard error what went wrong, and leave with the exit status."""
    if as_json:
        click.echo(json.dumps(list(rows), indent=1))
    else:
        for row in rows:
            click.echo("  ".join(_cell(name, value) for name, value in row.items() if value not in {"", None}))
        total = sum(row.get("rows") or 0 for row in rows)
        readings = f", {total:,} readings" if total else ""
        click.echo(f"{len(rows) - len(problems):,} tenant-days {verb}{readings}" if rows else _NOTHING[verb])
    for problem in problems:
        click.echo(problem, err=True)
    if problems:
        sys.exit(1)


def _cell(name: str, value: object) -> str:
    if name in {"tenant", "day", "outcome", "location", "detail", "reason"}:
        return str(value)
    unit = {"seconds": "s", "failed_attempts": "failed attempts"}.get(name, name)
    return f"{value:,} {unit}"


@contextmanager
def _progress(total: int | None, verb: str) -> Iterator[Callable[..., None]]:
    """Show how far it is, on a terminal alone."""
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(verb, total=total)

        def step(tenant: str, day: date, of: int | None = None) -> None:
            bar.update(task, advance=1, description=f"{verb} {tenant} {day}", total=of if total is None else total)

        yield step
