"""`wellos migrate`: brings the database to the newest migration, or says what that would take."""

from __future__ import annotations

import click

from wellos.settings import load_settings
from wellos.storage import migrations
from wellos.storage.warm import connect

__all__ = ["migrate"]


@click.command()
@click.option("--dry-run", is_flag=True, help="Name the migrations that would be applied; change nothing.")
@click.option("--status", is_flag=True, help="Show the engine and every migration, applied or pending.")
def migrate(*, dry_run: bool, status: bool) -> None:
    """Bring the database of WELLOS_DATABASE_URL to the newest migration.

    Safe to run again and from several places at once. Exit status 2 when the address is wrong, when an applied
    migration was edited, or when the database was migrated by the other engine.
    """
    settings = load_settings()
    if dry_run and status:
        raise click.UsageError("--dry-run and --status exclude each other.")
    with connect(settings, autocommit=True) as connection:
        if not dry_run and not status:
            applied = migrations.migrate(connection)
            for migration in applied:
                click.echo(f"applied {migration}")
            for line in migrations.set_policies(connection, settings):
                click.echo(f"not done by this engine: {line}")
            for policy in migrations.policies(connection):
                click.echo(f"policy: {policy}")
        found = migrations.state(connection)
    if status:
        for row in found.applied:
            click.echo(f"{row.version:04} {row.name}: applied {row.applied_at:%Y-%m-%d %H:%M:%S} UTC ({row.engine})")
    for migration in found.pending:
        click.echo(f"{migration.version:04} {migration.name}: {'would apply' if dry_run else 'pending'} {migration}")
    click.echo(f"{found.server}: {f'{len(found.pending)} to apply' if found.pending else 'up to date'}")
