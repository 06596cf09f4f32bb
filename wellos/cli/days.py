"""UTC days on the command line: one with --day, or a range with --from and --to, both included."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import date, datetime

__all__ = ["day_range", "days_asked"]

_DAY = click.DateTime(["%Y-%m-%d"])


def day_range(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add the options --day, --from and --to; `required`: help says that one of them is needed."""
    needed = "" if required else " Optional."

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        for option in (
            click.option("--to", "until", type=_DAY, metavar="DAY", help="Last day of a range."),
            click.option("--from", "since", type=_DAY, metavar="DAY", help="First day of a range."),
            click.option("--day", type=_DAY, metavar="DAY", help=f"One UTC day, such as 2026-08-01.{needed}"),
        ):
            command = option(command)
        return command

    return decorate


def days_asked(day: datetime | None, since: datetime | None, until: datetime | None) -> list[date]:
    """Return the days these options name, none when none was given; click reports what does not go together."""
    if day is not None:
        if since is not None or until is not None:
            raise click.UsageError("give --day, or --from and --to")
        return [day.date()]
    if since is None and until is None:
        return []
    if since is None or until is None:
        raise click.UsageError("a range needs both --from and --to")
    if since > until:
        raise click.UsageError(f"--from {since:%Y-%m-%d} is after --to {until:%Y-%m-%d}")
    return [since.date() + timedelta(days=k) for k in range((until - since).days + 1)]
