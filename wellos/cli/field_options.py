"""What `wellos up` and `wellos simulate` have in common: the zone of recordings, and no option that does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from click.core import ParameterSource

from wellos.errors import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

__all__ = ["refuse_idle", "zone_option"]


def _known(_context: click.Context, _parameter: click.Parameter, zone: str) -> str:
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder of zones is an OSError
        remedy = "Use an IANA name such as America/Sao_Paulo."
        raise ConfigurationError([Problem("no such time zone", remedy, field="--zone", value=zone)]) from error
    return zone


zone_option = click.option(
    "--zone",
    default="America/Sao_Paulo",
    show_default=True,
    callback=_known,
    help="Zone of a recording's local times.",
)


def refuse_idle(context: click.Context, idle: AbstractSet[str], why: str) -> None:
    """Refuse those of the options `idle` that were given: they would do nothing."""
    given = [name for name in idle if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]
    problems = [Problem(why, "Leave it out.", field=f"--{name.replace('_', '-')}") for name in sorted(given)]
    if problems:
        raise ConfigurationError(problems)
