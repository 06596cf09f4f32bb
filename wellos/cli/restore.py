"""`wellos restore`: bring dropped days back to the warm tier."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from wellos.cli.days import day_range, days_asked
from wellos.errors import WellosError
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import date, datetime

    from wellos.archive.restoring import Restored
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["restore"]


@click.command()
@day_range(required=True)
@click.option(
    "--keep-days",
    type=click.IntRange(min=0),
    help="How long they stay at least. [default: WELLOS_RESTORE_KEEP_DAYS]; 0: until the next drop.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would come back, after reading every copy once.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def restore(
    *,
    day: datetime | None,
    since: datetime | None,
    until: datetime | None,
    keep_days: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Bring dropped days of readings back from the archive, all tenants, each day in one transaction.

    Every copy is compared with its receipt while it is read, and what is put back is added up again. What came for a
    day since it was dropped is merged: the better quality stays, then what was received later. The aggregates of the
    day are made right afterwards.

    Exit status 0 when every day is back, or could be; 1 when one is not: nothing of that day changed then.
    """
    from wellos.storage.cold.opening import open_cold  # noqa: PLC0415 - heavy imports when it is called

    days = days_asked(day, since, until)
    if not days:
        raise click.UsageError("which days? give --day, or --from and --to")
    settings = load_settings()
    now = settings.make_clock().now()
    keep = None if dry_run else timedelta(days=settings.restore_keep_days if keep_days is None else keep_days)
    store = open_cold(settings)
    found = []
    try:
        with connect(settings, autocommit=True) as conn, _counting() as counting:
            for one in days:
                found.append(_restore(conn, store, one, now, keep, counting(one)))
                if not as_json:
                    click.echo(_line(found[-1]))
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"days": found}, indent=1))
    sys.exit(1 if any("error" in one for one in found) else 0)


def _restore(
    conn: PgConnection,
    store: ColdStore,
    day: date,
    now: datetime,
    keep: timedelta | None,
    progress: Callable[[int], None],
) -> dict[str, Any]:
    """Restore a day, or with `keep` None only look whether it could be."""
    from wellos.archive.restoring import examine, restore_day  # noqa: PLC0415

    try:
        if keep is not None:
            return _as_dict(restore_day(conn, store, day, now, keep, progress))
        tenants, rows = examine(conn, store, day)
    except WellosError as error:
        return {"day": day.isoformat(), "restored": False, "error": str(error)}
    return {"day": day.isoformat(), "restored": False, "tenants": tenants, "rows": rows}


@contextmanager
def _counting() -> Iterator[Callable[[date], Callable[[int], None]]]:
    """Show on a terminal how many readings of a day have come back so far."""
    from rich.console import Console  # noqa: PLC0415 - not needed for --help
    from rich.progress import Progress, SpinnerColumn, TextColumn  # noqa: PLC0415

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}: {task.completed:,.0f} readings"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)

        def of(day: date) -> Callable[[int], None]:
            shown.reset(task, description=f"restoring {day}")
            return lambda rows: shown.advance(task, rows)

        yield of


def _as_dict(done: Restored) -> dict[str, Any]:
    return {
        "day": done.day.isoformat(),
        "restored": True,
        "tenants": done.tenants,
        "rows": done.rows,
        "overlay": done.overlay,
        "repeated": done.repeated,
        "replaced": done.replaced,
        "superseded": done.superseded,
        "keep_until": done.keep_until.isoformat(),
        "seconds": round(done.seconds, 3),
    }


def _line(found: dict[str, Any]) -> str:
    day = found["day"]
    if "error" in found:
        error = found["error"]
        return error if error.startswith(day) else f"{day} is not restored: {error}"
    if not found["restored"]:
        return f"{day}  could be restored: {found['rows']:,} readings of {found['tenants']} tenants"
    late = f", {found['overlay']:,} came since it was dropped" if found["overlay"] else ""
    return f"{day}  restored: {found['rows']:,} readings of {found['tenants']} tenants{late}"
