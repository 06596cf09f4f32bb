"""`wellos settings`: every setting with its meaning, its default, its value now, and where that comes from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from rich.console import Console
from rich.table import Table

from wellos.settings import Settings, load_settings, origins
from wellos.validation import masked

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

__all__ = ["markdown", "settings"]

_PAGE = """\
# Configuration

<!-- Written by `wellos settings --format markdown`; a test holds it equal to the settings class. -->

Each setting is read from the environment, else from the file `.env` in the working folder, else from the platform that
is running on the data folder, else it has its default. An empty value counts as unset. A name that begins with
`WELLOS_` and is not listed here is refused, as is a value of the wrong kind: all mistakes at once, with exit status 2.
`wellos settings` shows the values in force and where each comes from; passwords are hidden.

| setting | default | meaning |
|---|---|---|
{rows}

The tests read three more: `WELLOS_TEST_DATABASE_URL`, a server on which they make and drop databases of their own;
unset: they start an embedded one; `WELLOS_TEST_BIGQUERY_PROJECT`, a Google Cloud project in which they make and remove
a dataset; and `WELLOS_NODE_MODULES`, a folder with the foreign peers of the adapters.
"""


@click.command()
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "markdown", "json"]),
    default="table",
    show_default=True,
    help="`table` and `json` show the values in force, `markdown` is the page docs/configuration.md.",
)
def settings(*, form: Literal["table", "markdown", "json"]) -> None:
    """Show every setting: meaning, default, value in force and where it comes from. Passwords are hidden."""
    if form == "markdown":
        click.echo(markdown(), nl=False)
        return
    current = load_settings()
    where = origins(current)
    rows = [
        {
            "name": _name(field),
            "value": _shown(getattr(current, field)),
            "source": where[field],
            "default": _shown(info.default),
            "description": _meaning(info),
        }
        for field, info in Settings.model_fields.items()
    ]
    if form == "json":
        click.echo(json.dumps(rows, indent=1))
        return
    table = Table("setting", "value", "source", "meaning", pad_edge=False)
    for row in rows:
        table.add_row(
            row["name"], _text(row["value"]), row["source"], f"{row['description']} (default {_text(row['default'])})"
        )
    Console(markup=False, highlight=False).print(table)


def markdown() -> str:
    """Return the page docs/configuration.md."""
    rows = (
        f"| `{_name(field)}` | `{_text(_shown(info.default))}` | {_meaning(info)} |".replace("`unset`", "unset")
        for field, info in Settings.model_fields.items()
    )
    return _PAGE.format(rows="\n".join(rows))


def _name(field: str) -> str:
    return f"WELLOS_{field.upper()}"


def _shown(value: object) -> Any:  # noqa: ANN401 - what JSON can hold
    if isinstance(value, SecretStr):
        return masked(value.get_secret_value())
    if isinstance(value, str):
        return masked(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _text(value: object) -> str:
    return "unset" if value is None else str(value)


def _meaning(info: FieldInfo) -> str:
    choices = get_args(info.annotation) if get_origin(info.annotation) is Literal else ()
    listed = f" One of {', '.join(f'`{choice}`' for choice in choices)}." if choices else ""
    return f"{info.description}{listed}"
