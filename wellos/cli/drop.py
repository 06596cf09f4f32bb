"""`wellos drop`: let days leave the warm tier, or say why they stay."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from wellos.cli.days import day_range, days_asked
from wellos.settings import load_settings
from wellos.storage.warm import connect

if TYPE_CHECKING:
    from datetime import date, datetime

    from wellos.settings import Settings
    from wellos.storage.cold import ColdStore
    from wellos.storage.warm import PgConnection

__all__ = ["drop"]


@click.command()
@day_range(required=False)
@click.option("--dry-run", is_flag=True, help="Only say what would go and what stands against the others.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on standard output.")
def drop(*, day: datetime | None, since: datetime | None, until: datetime | None, dry_run: bool, as_json: bool) -> None:
    """Drop days of readings from the database that are proven to be in the archive.

    Without a day, all that may go. A day goes when it is older than WELLOS_RAW_DAYS, every tenant has a verified copy
    of it that is not older than its last change, its aggregates are right, and no ingest instance may still hold
    readings of it. Every copy is added up once more, in the archive and in the database, before anything is dropped.

    Exit status 0 when every day asked for went, or would; 1 when one stays, with the reasons and their remedies.
    """
    from wellos.archive.obstacles import droppable, obstacles  # noqa: PLC0415 - heavy imports when it is called
    from wellos.storage.cold.opening import open_cold  # noqa: PLC0415

    days = days_asked(day, since, until)
    settings = load_settings()
    now = settings.make_clock().now()
    store = open_cold(settings)
    try:
        with connect(settings, autocommit=True) as conn:
            found: list[dict[str, Any]] = []
            store.ready(writing=False)
            for one in days or droppable(conn, store.name, now, settings):
                if dry_run:
                    reasons = obstacles(conn, store.name, one, now, settings)
                    found.append({"day": one.isoformat(), "dropped": False, "obstacles": reasons})
                else:
                    found.append(_drop(conn, store, one, now, settings))
                if not as_json:
                    click.echo(_line(found[-1], dry_run=dry_run))
    finally:
        store.close()
    if as_json:
        click.echo(json.dumps({"days": found}, indent=1))
    elif not found:
        click.echo("no day may go now")
    sys.exit(1 if any(one["obstacles"] for one in found) else 0)


def _drop(conn: PgConnection, store: ColdStore, day: date, now: datetime, settings: Settings) -> dict[str, Any]:
    from wellos.archive.dropping import DropRefusedError, drop_day  # noqa: PLC0415
    from wellos.errors import RetryableError  # noqa: PLC0415

    try:
        done = drop_day(conn, store, day, now, settings)
    except DropRefusedError as error:
        return {"day": day.isoformat(), "dropped": False, "obstacles": list(error.reasons)}
    except RetryableError as error:
        return {"day": day.isoformat(), "dropped": False, "obstacles": [str(error)]}
    told = {"tenants": done.tenants, "rows": done.rows, "bytes": done.bytes, "seconds": round(done.seconds, 3)}
    return {"day": day.isoformat(), "dropped": True, "obstacles": []} | told


def _line(found: dict[str, Any], *, dry_run: bool) -> str:
    if found["obstacles"]:
        return "\n".join([f"{found['day']}  stays", *(f"    {reason}" for reason in found["obstacles"])])
    if dry_run:
        return f"{found['day']}  would go"
    size = f"{found['bytes'] / 1e6:,.1f} MB"
    return f"{found['day']}  dropped: {found['rows']:,} readings of {found['tenants']} tenants, {size} freed"
