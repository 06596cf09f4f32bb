"""A length of time on the command line, such as 30d."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

__all__ = ["Duration"]

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Duration(click.ParamType[timedelta]):
    """A whole number above 0 and a unit: m, h, d or w."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:  # noqa: ANN401 - click's
        """Return the length; click reports anything else as a usage error."""
        if isinstance(value, timedelta):
            return value
        found = re.fullmatch(r"(\d+)([mhdw])", str(value).strip())
        if found is None or int(found[1]) == 0:
            self.fail(f"{value!r} is not a length of time: write a number and m, h, d or w, such as 30d", param, ctx)
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
